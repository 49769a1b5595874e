//! Maps a host name to its registry. The DNS suffix of a region comes from the endpoint rules of the AWS SDK, so that
//! no list of partitions is needed here. Makes no call.

use std::sync::LazyLock;

use aws_sdk_ecr::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use futures_util::FutureExt;

use crate::model::RegistryHost;

/// Hosts of ECR Public, which has no region; the second one is the dual-stack form.
const PUBLIC_HOSTS: [&str; 2] = ["public.ecr.aws", "ecr-public.aws.com"];

/// The part between account and region, and whether it has the dual-stack suffix.
const PRIVATE_FORMS: [(&str, bool); 4] =
    [("dkr.ecr.", false), ("dkr.ecr-fips.", false), ("dkr-ecr.", true), ("dkr-ecr-fips.", true)];

/// Shared: its only state is the last result.
static RESOLVER: LazyLock<DefaultResolver> = LazyLock::new(DefaultResolver::new);

/// The registry of the host part of an image reference. `None` for hosts that are not AWS's: those with a port, or with
/// a suffix of another partition than that of the region.
pub fn registry_host(host: &str) -> Option<RegistryHost> {
    let host = host.to_ascii_lowercase();
    if PUBLIC_HOSTS.contains(&host.as_str()) {
        return Some(RegistryHost::EcrPublic);
    }
    let (account, rest) = host.split_once('.').filter(|(account, _)| is_account(account))?;
    PRIVATE_FORMS.iter().find_map(|(form, is_dual_stack)| {
        let (region, suffix) = rest.strip_prefix(form)?.split_once('.')?;
        let is_of_aws = is_region(region) && dns_suffix(region, *is_dual_stack)? == suffix;
        is_of_aws.then(|| RegistryHost::Ecr { account: account.to_owned(), region: region.to_owned() })
    })
}

/// The part after the region in the names of registries. The dual-stack form has `on.` instead of the `api.` of service
/// endpoints: `on.aws` instead of `api.aws`.
fn dns_suffix(region: &str, is_dual_stack: bool) -> Option<String> {
    let params = Params::builder().region(region).use_fips(false).use_dual_stack(is_dual_stack).build().ok()?;
    let endpoint = ResolveEndpoint::resolve_endpoint(&*RESOLVER, &params).now_or_never()?.ok()?;
    let (_, suffix) = endpoint.url().split_once(&format!(".{region}."))?;
    let suffix = suffix.trim_end_matches('/');
    if is_dual_stack { suffix.strip_prefix("api.").map(|rest| format!("on.{rest}")) } else { Some(suffix.to_owned()) }
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
    use crate::reconciler::AllowedRegistries;

    /// A region of each partition, the suffix of its registries, and that of their dual-stack form.
    const PARTITIONS: [(&str, &str, &str); 9] = [
        ("us-east-1", "amazonaws.com", "on.aws"),
        ("mx-central-1", "amazonaws.com", "on.aws"),
        ("us-gov-west-1", "amazonaws.com", "on.aws"),
        ("cn-northwest-1", "amazonaws.com.cn", "on.amazonwebservices.com.cn"),
        ("eusc-de-east-1", "amazonaws.eu", "on.amazonwebservices.eu"),
        ("us-iso-east-1", "c2s.ic.gov", "on.aws.ic.gov"),
        ("us-isob-east-1", "sc2s.sgov.gov", "on.aws.scloud"),
        ("eu-isoe-west-1", "cloud.adc-e.uk", "on.cloud-aws.adc-e.uk"),
        ("us-isof-south-1", "csp.hci.ic.gov", "on.aws.hci.ic.gov"),
    ];

    fn is_allowed(host: &str) -> bool {
        let image = format!("{host}/team/node:1").parse().expect("a reference");
        AllowedRegistries::default().check(&image, registry_host(host).as_ref()).is_ok()
    }

    #[test]
    fn every_partition_has_its_own_suffixes() {
        for (region, suffix, dual_stack) in PARTITIONS {
            let expected = RegistryHost::Ecr { account: "123456789012".to_owned(), region: region.to_owned() };
            let mut hosts = ["dkr.ecr", "dkr.ecr-fips"].map(|form| format!("{form}.{region}.{suffix}")).to_vec();
            hosts.extend(["dkr-ecr", "dkr-ecr-fips"].map(|form| format!("{form}.{region}.{dual_stack}")));
            hosts.push(format!("DKR.ECR.{region}.{suffix}"));
            for host in hosts.iter().map(|host| format!("123456789012.{host}")) {
                assert_eq!(registry_host(&host), Some(expected.clone()), "{host}");
                assert!(is_allowed(&host), "{host}");
                for other in [format!("{host}.evil.example"), format!("evil.example.{host}"), format!("{host}x")] {
                    assert_eq!(registry_host(&other), None, "{other}");
                    assert!(!is_allowed(&other), "{other}");
                }
            }
            // Suffixes of other partitions are not accepted.
            for (_, other, _) in PARTITIONS.iter().filter(|(_, other, _)| *other != suffix) {
                assert_eq!(registry_host(&format!("123456789012.dkr.ecr.{region}.{other}")), None, "{region} {other}");
            }
        }
    }

    #[test]
    fn ecr_public_has_two_hosts() {
        for host in ["public.ecr.aws", "ecr-public.aws.com"] {
            assert_eq!(registry_host(host), Some(RegistryHost::EcrPublic), "{host}");
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
            "123456789012.dkr.ecr.us-east-1.evil.example",
            "123456789012.dkr.ecr..amazonaws.com",
            "123456789012.dkr.ecr.us.east.1.amazonaws.com",
            "123456789012.dkr.ecr.us-east-1.on.aws",
            "123456789012.dkr.ecr.us-east-1.api.aws",
            "123456789012.dkr-ecr.us-east-1.amazonaws.com",
            "123456789012.dkr-ecr.us-east-1.api.aws",
            "a23456789012.dkr.ecr.us-east-1.amazonaws.com",
            "public.ecr.aws.example",
        ] {
            assert_eq!(registry_host(host), None, "{host}");
        }
    }
}
