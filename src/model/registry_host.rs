//! Which registry a host name means, and whether it hands out tokens of its own. Pure.

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

/// Hosts of the public gallery; the second one is the dual-stack form.
const PUBLIC_HOSTS: [&str; 2] = ["public.ecr.aws", "ecr-public.aws.com"];

/// What may stand between account and region, and what follows the region then.
const PRIVATE_FORMS: [(&str, [&str; 2]); 4] = [
    (".dkr.ecr.", [".amazonaws.com", ".amazonaws.com.cn"]),
    (".dkr.ecr-fips.", [".amazonaws.com", ".amazonaws.com.cn"]),
    (".dkr-ecr.", [".on.aws", ".on.amazonwebservices.com.cn"]),
    (".dkr-ecr-fips.", [".on.aws", ".on.amazonwebservices.com.cn"]),
];

impl RegistryHost {
    /// Reads the host part of an image reference. A host with a port is not AWS's.
    pub fn parse(host: &str) -> Option<Self> {
        let host = host.to_ascii_lowercase();
        if PUBLIC_HOSTS.contains(&host.as_str()) {
            return Some(Self::EcrPublic);
        }
        PRIVATE_FORMS.iter().find_map(|(infix, suffixes)| {
            let (account, rest) = host.split_once(infix)?;
            let region = suffixes.iter().find_map(|suffix| rest.strip_suffix(suffix))?;
            (is_account(account) && is_region(region))
                .then(|| Self::Ecr { account: account.to_owned(), region: region.to_owned() })
        })
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `us-east-1`, `us-gov-west-1`, ...: words and a number joined by dashes.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() >= 3
        && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        && parts.last().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_ecr_host_is_known() {
        let check = |host: &str, region: &str| {
            let expected = RegistryHost::Ecr { account: "123456789012".to_owned(), region: region.to_owned() };
            assert_eq!(RegistryHost::parse(host), Some(expected), "{host}");
        };
        check("123456789012.dkr.ecr.us-east-1.amazonaws.com", "us-east-1");
        check("123456789012.DKR.ECR.us-east-1.amazonaws.com", "us-east-1");
        check("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1");
        check("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1");
        check("123456789012.dkr-ecr.eu-central-1.on.aws", "eu-central-1");
        check("123456789012.dkr-ecr-fips.us-west-2.on.aws", "us-west-2");
        check("123456789012.dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn", "cn-northwest-1");
        for host in ["public.ecr.aws", "ecr-public.aws.com"] {
            assert_eq!(RegistryHost::parse(host), Some(RegistryHost::EcrPublic), "{host}");
        }
    }

    #[test]
    fn other_hosts_are_not_ecr() {
        for host in [
            "docker.io",
            "localhost:5000",
            "12345678901.dkr.ecr.us-east-1.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com:443",
            "123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.example",
            "123456789012.dkr.ecr..amazonaws.com",
            "123456789012.dkr.ecr.us.east.1.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1.on.aws",
            "123456789012.dkr-ecr.us-east-1.amazonaws.com",
            "a23456789012.dkr.ecr.us-east-1.amazonaws.com",
            "public.ecr.aws.example",
        ] {
            assert_eq!(RegistryHost::parse(host), None, "{host}");
        }
    }
}
