//! A registry of AWS. Which host names mean one is told by the partition data of the AWS SDK (`cloud::registry_host`).

/// A registry of AWS, as far as its credentials depend on it. Docker Hub and others have none here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RegistryHost {
    /// A private registry.
    Ecr {
        /// Its AWS account, twelve digits.
        account: String,
        /// Its own region, not the daemon's.
        region: String,
    },
    /// The public gallery.
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
