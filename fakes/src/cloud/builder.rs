//! Settings of a fake cloud: names, addresses and lifetimes. Nothing is started here.

use std::time::Duration;

/// Settings of a fake cloud; each has a working default.
pub struct Builder {
    pub(super) app: String,
    pub(super) tenant: String,
    pub(super) region: String,
    pub(super) default_region: String,
    pub(super) pool_region: String,
    pub(super) user: String,
    pub(super) srp_id: Option<String>,
    pub(super) password: String,
    pub(super) log_group: String,
    pub(super) token_lifetime: Duration,
    pub(super) refresh_lifetime: Duration,
    pub(super) endpoint: Option<String>,
    pub(super) operator_key: Option<(String, String)>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            app: "plant 7: line".to_owned(),
            tenant: "acme".to_owned(),
            region: "us-east-2".to_owned(),
            default_region: "us-east-1".to_owned(),
            pool_region: "us-west-2".to_owned(),
            user: "plant-7-line".to_owned(),
            srp_id: None,
            password: "Correct-Horse-7".to_owned(),
            log_group: "echostream/acme/plant-7".to_owned(),
            token_lifetime: Duration::from_secs(3600),
            refresh_lifetime: Duration::from_secs(30 * 24 * 3600),
            endpoint: None,
            operator_key: None,
        }
    }
}

macro_rules! text_settings {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        pub fn $name(mut self, $name: &str) -> Self {
            self.$name = $name.to_owned();
            self
        }
    )*};
}

impl Builder {
    text_settings! {
        /// Name of the app; spaces and colons are fine.
        app
        /// Name of the tenant; spaces and colons are fine.
        tenant
        /// AWS region of the tenant: queues, logs, audit records.
        region
        /// `AWS_DEFAULT_REGION` of the host.
        default_region
        /// AWS region of the user pool.
        pool_region
        /// Name of the app's user.
        user
        /// Password of the app's user.
        password
        /// `LOG_GROUP_NAME`.
        log_group
    }

    /// Name of the user in Cognito's SRP, where users sign in by an alias; the user's name unless set.
    pub fn srp_id(mut self, srp_id: &str) -> Self {
        self.srp_id = Some(srp_id.to_owned());
        self
    }

    /// An address that clients get instead of the cloud's own ones, for a proxy in front of it: `http://10.0.0.5:4510`.
    /// Requests must arrive unchanged, including the host header, because it is signed.
    pub fn endpoint(mut self, url: &str) -> Self {
        self.endpoint = Some(url.to_owned());
        self
    }

    /// The AWS access key of the host's operator, id and secret; random unless set.
    pub fn operator_key(mut self, id: &str, secret: &str) -> Self {
        self.operator_key = Some((id.to_owned(), secret.to_owned()));
        self
    }

    /// Lifetime of access tokens; an hour unless set.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = lifetime;
        self
    }

    /// Lifetime of refresh tokens; 30 days unless set.
    pub fn refresh_lifetime(mut self, lifetime: Duration) -> Self {
        self.refresh_lifetime = lifetime;
        self
    }
}
