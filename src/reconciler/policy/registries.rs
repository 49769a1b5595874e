//! Registries that images may come from. Pure.

use managed_app_runtimes::ImageReference;

use crate::model::RegistryHost;

/// The value of MANAGED_APP_ALLOWED_REGISTRIES. The default is all of Amazon ECR and ECR Public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedRegistries(Vec<Registry>);

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Registry {
    /// `*`
    Any,
    /// `ecr`: every account and region.
    Ecr,
    /// `ecr-public`
    EcrPublic,
    /// `host[:port][/repository]`
    Under { host: String, repository: Option<String> },
}

impl AllowedRegistries {
    /// Parses a comma-separated list of `ecr`, `ecr-public`, `host[:port][/repository]` and `*`; `None` if a part is
    /// invalid. A repository includes everything below it.
    pub fn parse(text: &str) -> Option<Self> {
        text.split(',').map(|part| Registry::parse(part.trim())).collect::<Option<_>>().map(Self)
    }

    /// The error is for people and names the setting. `of_aws`: the AWS registry of the image.
    pub fn check(&self, image: &ImageReference, of_aws: Option<&RegistryHost>) -> Result<(), String> {
        if self.0.iter().any(|entry| entry.holds(image, of_aws)) {
            return Ok(());
        }
        let registry = image.registry();
        Err(format!("its image {image} may not be used; to allow it, add {registry} to MANAGED_APP_ALLOWED_REGISTRIES"))
    }
}

impl Default for AllowedRegistries {
    fn default() -> Self {
        Self(vec![Registry::Ecr, Registry::EcrPublic])
    }
}

impl Registry {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "*" => return Some(Self::Any),
            "ecr" => return Some(Self::Ecr),
            "ecr-public" => return Some(Self::EcrPublic),
            _ => {}
        }
        // With an image below it, the text is a reference and the usual parser reads it.
        const BELOW: &str = "/x";
        let image: ImageReference = format!("{text}{BELOW}").parse().ok()?;
        let repository = image.repository().strip_suffix(BELOW).map(str::to_owned);
        Some(Self::Under { host: image.registry().to_ascii_lowercase(), repository })
    }

    fn holds(&self, image: &ImageReference, of_aws: Option<&RegistryHost>) -> bool {
        match self {
            Self::Any => true,
            Self::Ecr => matches!(of_aws, Some(RegistryHost::Ecr { .. })),
            Self::EcrPublic => of_aws == Some(&RegistryHost::EcrPublic),
            Self::Under { host, repository } => {
                image.registry().eq_ignore_ascii_case(host)
                    && repository.as_deref().is_none_or(|above| {
                        let rest = image.repository().strip_prefix(above);
                        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                    })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECR: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

    /// A simplified detection of AWS hosts; `cloud::registry_host` handles hosts that only resemble one.
    fn of_aws(host: &str) -> Option<RegistryHost> {
        match host.split_once('.')? {
            ("public", "ecr.aws") => Some(RegistryHost::EcrPublic),
            (account, "dkr.ecr.eu-west-1.amazonaws.com") => {
                Some(RegistryHost::Ecr { account: account.to_owned(), region: "eu-west-1".to_owned() })
            }
            _ => None,
        }
    }

    fn allows(list: &AllowedRegistries, image: &str) -> bool {
        let image: ImageReference = image.parse().expect("a reference");
        list.check(&image, of_aws(image.registry()).as_ref()).is_ok()
    }

    #[test]
    fn by_default_images_come_from_ecr_alone() {
        let default = AllowedRegistries::default();
        assert_eq!(AllowedRegistries::parse("ecr, ecr-public"), Some(default.clone()));
        for good in [&format!("{ECR}/a:1"), "public.ecr.aws/x/y:1"] {
            assert!(allows(&default, good), "{good}");
        }
        for bad in [
            "docker.io/library/busybox:1",
            "localhost/a:1",
            "127.0.0.1:5000/a:1",
            "public.ecr.aws:443/x:1",
            "public.ecr.aws.evil.example/x:1",
            &format!("{ECR}.evil.example/a:1"),
            &format!("evil.example/{ECR}/a:1"),
        ] {
            assert!(!allows(&default, bad), "{bad}");
        }
    }

    #[test]
    fn list_allows_only_the_named_registries() {
        let check = |list: &str, good: &[&str], bad: &[&str]| {
            let list = AllowedRegistries::parse(list).expect(list);
            good.iter().for_each(|image| assert!(allows(&list, image), "{image}"));
            bad.iter().for_each(|image| assert!(!allows(&list, image), "{image}"));
        };
        check(
            "registry.test",
            &["registry.test/a", "REGISTRY.test/b/c:1"],
            &["registry.test:80/a", "x.registry.test/a"],
        );
        check(
            "localhost:5000/team/node",
            &["localhost:5000/team/node:1", "localhost:5000/team/node/x"],
            &[
                "localhost:5000/team/nodes:1",
                "localhost:5000/team",
                "localhost:5000/x/team/node",
                "localhost/team/node",
            ],
        );
        check(ECR, &[&format!("{ECR}/a")], &["210987654321.dkr.ecr.eu-west-1.amazonaws.com/a", "public.ecr.aws/a"]);
        check("ecr-public,localhost", &["public.ecr.aws/a", "localhost/a"], &[&format!("{ECR}/a")]);
        check("*", &["docker.io/a", "localhost/a"], &[]);
    }

    #[test]
    fn invalid_registry_is_refused() {
        for text in [
            "",
            ",",
            "ecr,",
            "ecr;ecr-public",
            "ECR",
            "busybox",
            "https://registry.test",
            "a.b/n:1",
            "a.b/",
            "*.b",
            "a b.c",
        ] {
            assert_eq!(AllowedRegistries::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_error_names_image_and_remedy() {
        let error = AllowedRegistries::default().check(&"registry.test/a:1".parse().expect("a reference"), None);
        let text = "its image registry.test/a:1 may not be used; to allow it, add registry.test to";
        assert_eq!(error, Err(format!("{text} MANAGED_APP_ALLOWED_REGISTRIES")));
    }
}
