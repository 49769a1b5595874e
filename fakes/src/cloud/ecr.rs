//! Owns the fakes of ECR and ECR Public: tokens and information about images. It serves no layers.
mod gallery;
mod images;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use time::{Duration, OffsetDateTime};
use wiremock::{Mock, MockServer, Request};

use super::awsjson::{input, invalid, operation, record, respond};
use super::faults::{Failure, Faults};
use super::sigv4::{Access, Parts, Scope, claimed_region};

const PRIVATE: &str = "AmazonEC2ContainerRegistry_V20150921.";
const PUBLIC: &str = "SpencerFrontendService.";
/// ECR Public issues tokens in this region only.
const PUBLIC_REGION: &str = "us-east-1";
/// Lifetime of AWS tokens.
const LIFETIME: Duration = Duration::hours(12);
/// Requests kept for inspection.
const REQUESTS_MAX: usize = 10_000;
const ACCOUNT: &str = "123456789012";

/// A token request that passed the signature check, with a token or an injected failure as its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// Whether it went to ECR Public.
    pub public: bool,
    /// The region it was signed for.
    pub region: String,
    /// The accounts it named; always empty for ECR Public.
    pub registry_ids: Vec<String>,
}

/// The token service behind both registries; a cheap handle.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    access: Access,
    private_faults: Faults,
    public_faults: Faults,
    state: Mutex<State>,
}

struct State {
    password: String,
    lifetime: Duration,
    regions: Option<Vec<String>>,
    architecture: String,
    missing: Vec<String>,
    requests: Vec<TokenRequest>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("requests", &self.lock().requests).finish_non_exhaustive()
    }
}

/// Adds both token services to a server, for credentials of [`Scope::Operator`].
pub async fn mount(server: &MockServer, access: Access) -> Registry {
    let state = State {
        password: "registry-password".to_owned(),
        lifetime: LIFETIME,
        regions: None,
        architecture: images::own_architecture().to_owned(),
        missing: Vec::new(),
        requests: Vec::new(),
    };
    let registry = Registry(Arc::new(Shared {
        access,
        private_faults: Faults::default(),
        public_faults: Faults::default(),
        state: Mutex::new(state),
    }));
    for (prefix, public) in [(PRIVATE, false), (PUBLIC, true)] {
        let registry = registry.clone();
        Mock::given(move |request: &Request| operation(request, prefix).is_some())
            .respond_with(move |request: &Request| {
                let faults = if public { registry.public_faults() } else { registry.faults() };
                let outcome = registry.answer(request, prefix, public);
                let call = (service(public), operation(request, prefix).unwrap_or_default());
                record(&registry.0.access, request, call, &outcome);
                respond(outcome, faults)
            })
            .mount(server)
            .await;
    }
    images::mount_configuration(server, registry.clone()).await;
    gallery::mount(server, registry.clone()).await;
    registry
}

impl Registry {
    /// Sets the architecture of all images (`arm64`), or removes it (empty); at first it is that of this program.
    pub fn set_architecture(&self, architecture: &str) {
        self.lock().architecture = architecture.to_owned();
    }

    /// Removes a repository.
    pub fn remove_repository(&self, repository: &str) {
        self.lock().missing.push(repository.to_owned());
    }

    /// Sets the password in new tokens.
    pub fn set_password(&self, password: &str) {
        self.lock().password = password.to_owned();
    }

    /// Sets the lifetime of new tokens; 12 hours at first.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.lock().lifetime = lifetime;
    }

    /// Rejects private token requests in all regions but these; at first every region is accepted.
    pub fn restrict_regions(&self, regions: &[&str]) {
        self.lock().regions = Some(regions.iter().map(|region| (*region).to_owned()).collect());
    }

    /// The requests so far, oldest first; the newest 10,000 are kept.
    pub fn requests(&self) -> Vec<TokenRequest> {
        self.lock().requests.clone()
    }

    /// Number of requests for private tokens in a region.
    pub fn private_requests(&self, region: &str) -> usize {
        self.lock().requests.iter().filter(|request| !request.public && request.region == region).count()
    }

    /// Number of requests for tokens of ECR Public.
    pub fn public_requests(&self) -> usize {
        self.lock().requests.iter().filter(|request| request.public).count()
    }

    /// Fault injection of ECR.
    pub fn faults(&self) -> &Faults {
        &self.0.private_faults
    }

    /// Fault injection of ECR Public.
    pub fn public_faults(&self) -> &Faults {
        &self.0.public_faults
    }

    fn answer(&self, request: &Request, prefix: &str, public: bool) -> Result<Json, Failure> {
        let region = claimed_region(&request.headers)?;
        let (service, expected) = (service(public), if public { PUBLIC_REGION } else { region });
        self.0.access.verify(&Parts::from(request), &request.body, service, expected, Scope::Operator)?;
        let operation = operation(request, prefix).unwrap_or_default();
        if operation != "GetAuthorizationToken" {
            let images = if public { None } else { images::answer(self, request, operation) };
            let unknown = || Failure::new(400, "UnknownOperationException", "the operation is not known here");
            return images.unwrap_or_else(|| Err(unknown()));
        }
        let registry_ids = if public { Vec::new() } else { registry_ids(&input(request)?)? };
        self.record(TokenRequest { public, region: region.to_owned(), registry_ids: registry_ids.clone() });
        let faults = if public { self.public_faults() } else { self.faults() };
        faults.take_for(service, operation)?;
        if public {
            faults.permitted("sts", "GetServiceBearerToken")?;
        }
        self.check_region(region)?;
        Ok(if public { self.public_token() } else { self.private_tokens(region, registry_ids) })
    }

    fn record(&self, request: TokenRequest) {
        let requests = &mut self.lock().requests;
        if requests.len() == REQUESTS_MAX {
            requests.remove(0);
        }
        requests.push(request);
    }

    fn check_region(&self, region: &str) -> Result<(), Failure> {
        let state = self.lock();
        let known = state.regions.as_ref().is_none_or(|regions| regions.iter().any(|known| known == region));
        let refusal =
            || Failure::new(400, "UnrecognizedClientException", "The region is not enabled for this account.");
        if known || region == PUBLIC_REGION { Ok(()) } else { Err(refusal()) }
    }

    fn private_tokens(&self, region: &str, registry_ids: Vec<String>) -> Json {
        let accounts = if registry_ids.is_empty() { vec![ACCOUNT.to_owned()] } else { registry_ids };
        let tokens = accounts.iter().map(|account| {
            let mut token = self.token();
            token["proxyEndpoint"] = json!(format!("https://{account}.dkr.ecr.{region}.amazonaws.com"));
            token
        });
        json!({ "authorizationData": tokens.collect::<Vec<_>>() })
    }

    fn public_token(&self) -> Json {
        json!({ "authorizationData": self.token() })
    }

    fn token(&self) -> Json {
        let ends = OffsetDateTime::now_utc() + self.lock().lifetime;
        json!({ "authorizationToken": self.encoded_token(), "expiresAt": ends.unix_timestamp() })
    }

    fn encoded_token(&self) -> String {
        STANDARD.encode(format!("AWS:{}", self.lock().password))
    }

    fn is_missing(&self, repository: &str) -> bool {
        self.lock().missing.iter().any(|missing| missing == repository)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name in signatures and permissions.
fn service(public: bool) -> &'static str {
    if public { "ecr-public" } else { "ecr" }
}

/// The accounts of a request: up to ten, twelve digits each.
fn registry_ids(input: &Json) -> Result<Vec<String>, Failure> {
    let list = input["registryIds"].as_array().map(Vec::as_slice).unwrap_or_default();
    let account = |id: &&str| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_digit());
    let ids: Option<Vec<String>> = list.iter().map(|id| id.as_str().filter(account).map(str::to_owned)).collect();
    let ids = ids.filter(|ids| ids.len() <= 10);
    ids.ok_or_else(|| invalid("Invalid parameter at 'registryIds': each must be 12 digits, at most 10"))
}
