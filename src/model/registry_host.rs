//! An AWS registry. The partition data of the AWS SDK determines which host names are one (`cloud::registry_host`).

/// An AWS registry, with what its credentials depend on. Docker Hub and others have no value here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RegistryHost {
    /// A private registry.
    Ecr {
        /// Its AWS account, twelve digits.
        account: String,
        /// Its own region, not the daemon's.
        region: String,
    },
    /// ECR Public.
    EcrPublic,
}

impl RegistryHost {
    /// The region of a private registry.
    pub fn region(&self) -> Option<&str> {
        match self {
            Self::Ecr { region, .. } => Some(region),
            Self::EcrPublic => None,
        }
    }
}
