//! The root of the schema and the app: field names, types and nullability as in the published schema, limited to the
//! fields that an app's own credentials may read.

use std::sync::Arc;

use async_graphql::{Context, Error, ErrorExtensions, Interface, Object, Result};
use time::{Duration, OffsetDateTime};

use super::Call;
use super::nodes::{ManagedAppNode, Node};
use super::parts::{AwsCredentials, Tenant};
use super::remote::{CrossAccountApp, ExternalApp};
use super::scalars::{DateTime, Json, Url};
use crate::cloud::messages::date_time;
use crate::cloud::services::{Fault, Service};
use crate::cloud::sigv4::Scope;
use crate::cloud::{Shared, World, random_hex, state};

/// Lifetime of credentials, seconds: minimum, maximum, and default.
const CREDENTIALS_SECONDS: (i32, i32, i32) = (900, 43_200, 3_600);

pub(super) struct Query;

#[Object(rename_fields = "PascalCase")]
impl Query {
    async fn get_app(&self, context: &Context<'_>, name: String, tenant: String) -> Result<Option<App>> {
        let shared = context.data::<Arc<Shared>>()?;
        context.data::<Call>()?.counts(Service::AppSync, "GetApp");
        // Stale reads only affect nodes: credentials are issued elsewhere.
        let world =
            if context.look_ahead().field("nodes").exists() { shared.history.read() } else { shared.history.now() };
        let is_known = world.tenant.name == tenant && world.app.as_ref().is_some_and(|app| app.name == name);
        Ok(is_known.then_some(App::ManagedApp(ManagedApp(world))))
    }

    async fn get_node(&self, context: &Context<'_>, name: String, tenant: String) -> Result<Option<Node>> {
        let shared = context.data::<Arc<Shared>>()?;
        context.data::<Call>()?.counts(Service::AppSync, "GetNode");
        let world = shared.history.now();
        Ok(if world.tenant.name == tenant { Node::find(&world, &name) } else { None })
    }
}

#[derive(Interface)]
#[graphql(field(name = "name", ty = "String"), field(name = "tenant", ty = "Tenant"))]
#[expect(clippy::enum_variant_names, reason = "the names are those of the published schema")]
pub(super) enum App {
    ManagedApp(ManagedApp),
    CrossAccountApp(CrossAccountApp),
    ExternalApp(ExternalApp),
}

/// Exists only for a world that has its app.
pub(super) struct ManagedApp(pub(super) Arc<World>);

impl ManagedApp {
    fn described(&self) -> &state::App {
        self.0.app.as_ref().expect("made only where the app exists")
    }
}

#[Object]
impl ManagedApp {
    async fn audit_records_endpoint(&self) -> Url {
        Url(self.described().audit_records_endpoint.clone())
    }

    async fn config(&self) -> Option<Json> {
        self.described().config.clone().map(Json)
    }

    async fn name(&self) -> String {
        self.described().name.clone()
    }

    async fn nodes(&self) -> Vec<Option<ManagedAppNode>> {
        ManagedAppNode::all(&self.0)
    }

    async fn table_access(&self) -> bool {
        self.described().table_access
    }

    async fn tenant(&self) -> Tenant {
        Tenant::of(&self.0)
    }

    #[graphql(name = "GetAwsCredentials")]
    async fn aws_credentials(&self, context: &Context<'_>, duration: Option<i32>) -> Result<AwsCredentials> {
        let shared = context.data::<Arc<Shared>>()?;
        let call = context.data::<Call>()?;
        call.counts(Service::Credentials, "GetAwsCredentials");
        match shared.services.take(Service::Credentials, "GetAwsCredentials") {
            Some(Fault::Status(status)) => return Err(field_error(&format!("credentials failed with {status}"))),
            Some(Fault::Stall) => call.stalls(),
            None => {}
        }
        let (least, most, usual) = CREDENTIALS_SECONDS;
        let seconds = duration.unwrap_or(usual);
        if !(least..=most).contains(&seconds) {
            return Err(field_error(&format!("duration must be between {least} and {most}")));
        }
        Ok(issue_credentials(shared, Duration::seconds(seconds.into())))
    }
}

/// New credentials, valid for the services from now on.
fn issue_credentials(shared: &Shared, lifetime: Duration) -> AwsCredentials {
    let lifetime = shared.credentials_lifetime().unwrap_or(lifetime);
    let expires_at = OffsetDateTime::now_utc() + lifetime;
    let (id, secret, token) =
        (format!("ASIA{}", random_hex::<8>().to_uppercase()), random_hex::<20>(), random_hex::<64>());
    shared.access.allow(&id, &secret, Some(&token), Scope::App, Some(expires_at));
    shared.remember_credentials(&id);
    AwsCredentials {
        access_key_id: id,
        expiration: DateTime(date_time(expires_at)),
        secret_access_key: secret,
        session_token: token,
    }
}

fn field_error(message: &str) -> Error {
    Error::new(message).extend_with(|_, extensions| extensions.set("errorType", "Lambda:Unhandled"))
}
