//! Detects whether this instance has a role, with the requests of an AWS SDK and a short limit.

use std::time::Duration;

use reqwest::redirect::Policy;

/// The instance metadata service of EC2. The address is link-local: the service is on this host or does not exist.
pub(super) const METADATA: &str = "http://169.254.169.254";
/// Time limit of both responses.
const LIMIT: Duration = Duration::from_secs(1);

/// Whether the metadata service at `metadata` names a role; false without a response. Never uses a proxy.
pub(super) async fn has_role(metadata: &str) -> bool {
    let asked = async {
        let client = reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().ok()?;
        let token = client.put(format!("{metadata}/latest/api/token"));
        let token = token.header("x-aws-ec2-metadata-token-ttl-seconds", "60").send().await.ok()?;
        let token = token.error_for_status().ok()?.text().await.ok()?;
        let role = client.get(format!("{metadata}/latest/meta-data/iam/security-credentials/"));
        let role = role.header("x-aws-ec2-metadata-token", token.trim()).send().await.ok()?;
        let is_there = role.status() == reqwest::StatusCode::OK;
        let role = role.text().await.ok()?;
        Some(is_there && !role.trim().is_empty())
    };
    tokio::time::timeout(LIMIT, asked).await.ok().flatten().unwrap_or(false)
}
