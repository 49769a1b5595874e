//! Lists of containers, shared by concurrent callers that need single containers.

use std::sync::Arc;
use std::time::Duration;

use managed_app_runtimes::{Container, ContainerRuntime, ErrorKind, Owner, RuntimeError};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// The longest wait for a list, in line and for the engine.
const LIST_LIMIT: Duration = Duration::from_secs(90);

/// The newest list, and when it was requested.
#[derive(Debug, Default)]
pub struct ContainerLister(Mutex<Option<(Instant, Arc<Vec<Container>>)>>);

impl ContainerLister {
    /// A list that was requested after this call: one list serves all callers that waited for the previous one.
    pub async fn list(
        &self,
        runtime: &dyn ContainerRuntime,
        owner: &Owner,
    ) -> Result<Arc<Vec<Container>>, RuntimeError> {
        let requested_at = Instant::now();
        let list = async {
            let mut newest = self.0.lock().await;
            if let Some((began, found)) = &*newest
                && *began > requested_at
            {
                return Ok(found.clone());
            }
            let began = Instant::now();
            let found = Arc::new(runtime.list(owner).await?);
            *newest = Some((began, found.clone()));
            Ok(found)
        };
        let timed_out = |_| RuntimeError::new(ErrorKind::TimedOut, "list containers of app", &owner.app);
        timeout(LIST_LIMIT, list).await.map_err(timed_out)?
    }
}
