//! Format of the pool's tokens: JWTs with signatures as in Cognito, because clients verify them with the pool's
//! published keys. The pool decides which tokens are valid.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use serde_json::{Value, json};

/// PKCS#8. The key is in public source, so it secures nothing but a fake. It is constant, because generating one takes
/// as long as a test.
static KEY: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::from_pkcs8(include_bytes!("key.der")).expect("the key beside this file is one"));
/// The id of the key.
const KEY_ID: &str = "ZmFrZS1jbG91ZC1mYWtlLWNsb3VkLWZha2U=";

/// A signed token with these claims.
pub(super) fn sign(claims: &Value) -> String {
    let [header, claims] = [&json!({"kid": KEY_ID, "alg": "RS256"}), claims].map(|part| encode(part.to_string()));
    let text = format!("{header}.{claims}");
    let mut signature = vec![0; KEY.public().modulus_len()];
    KEY.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature)
        .expect("the signature is as long as the modulus");
    format!("{text}.{}", encode(signature))
}

/// The key set at `/<pool id>/.well-known/jwks.json`.
pub(in crate::cloud) fn keys() -> Value {
    let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(KEY.public());
    json!({"keys": [{"kid": KEY_ID, "alg": "RS256", "kty": "RSA", "use": "sig", "n": encode(n), "e": encode(e)}]})
}

fn encode(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

#[cfg(test)]
mod tests {
    use ring::signature::RSA_PKCS1_2048_8192_SHA256;

    use super::*;

    #[test]
    fn a_token_is_signed_by_the_published_key() {
        let token = sign(&json!({"sub": "user"}));
        let (text, signature) = token.rsplit_once('.').expect("three parts");
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64");
        let key = &keys()["keys"][0];
        let number = |name: &str| decode(key[name].as_str().expect("a number"));
        let public = RsaPublicKeyComponents { n: number("n"), e: number("e") };
        let verified = public.verify(&RSA_PKCS1_2048_8192_SHA256, text.as_bytes(), &decode(signature));
        assert!(verified.is_ok());
    }
}
