//! Owns the computation of Signature Version 4: canonical request, string to sign, signing key. No policy here.
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::{Claim, Parts, Refusal, header};

/// Everything except the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH_RESERVED: &AsciiSet = &RESERVED.remove(b'/');

/// Whether the claimed signature is valid; an error when a required part is not signed.
pub(super) fn matches(claim: &Claim<'_>, parts: &Parts<'_>, body: &[u8], secret: &str) -> Result<bool, Refusal> {
    let body_hash = hex::encode(Sha256::digest(body));
    if header(parts.headers, "x-amz-content-sha256").is_some_and(|sent| sent != body_hash) {
        return Ok(false);
    }
    let request = canonical_request(claim, parts, &body_hash)?;
    let scope = format!("{}/{}/{}/aws4_request", claim.day, claim.region, claim.service);
    let text =
        format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", claim.date, hex::encode(Sha256::digest(request.as_bytes())));
    let signature = claim_bytes(claim.signature).ok_or(Refusal::Incomplete)?;
    Ok(keyed(&signing_key(claim, secret)).chain_update(text).verify_slice(&signature).is_ok())
}

fn canonical_request(claim: &Claim<'_>, parts: &Parts<'_>, body_hash: &str) -> Result<String, Refusal> {
    let path = if parts.path.is_empty() { "/" } else { parts.path };
    Ok(format!(
        "{}\n{}\n{}\n{}\n{}\n{body_hash}",
        parts.method,
        utf8_percent_encode(path, PATH_RESERVED),
        canonical_query(parts.query),
        canonical_headers(claim, parts)?,
        claim.signed_headers,
    ))
}

fn canonical_query(query: &str) -> String {
    let encode = |text: &str| {
        let bytes: Vec<u8> = percent_decode_str(text).collect();
        percent_encoding::percent_encode(&bytes, RESERVED).to_string()
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// One line for each signed header. The host and all `x-amz-` headers must be included.
fn canonical_headers(claim: &Claim<'_>, parts: &Parts<'_>) -> Result<String, Refusal> {
    let signed: Vec<&str> = claim.signed_headers.split(';').collect();
    let must_sign = |name: &str| name == "host" || name.starts_with("x-amz-");
    let all_signed = parts.headers.keys().map(|name| name.as_str()).filter(|name| must_sign(name));
    if !signed.is_sorted() || !signed.contains(&"host") || !all_signed.into_iter().all(|name| signed.contains(&name)) {
        return Err(Refusal::Incomplete);
    }
    signed.into_iter().map(|name| header_line(name, parts)).collect()
}

fn header_line(name: &str, parts: &Parts<'_>) -> Result<String, Refusal> {
    let values: Vec<String> = parts
        .headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    if values.is_empty() { Err(Refusal::Incomplete) } else { Ok(format!("{name}:{}\n", values.join(","))) }
}

fn signing_key(claim: &Claim<'_>, secret: &str) -> Vec<u8> {
    [claim.day, claim.region, claim.service, "aws4_request"]
        .iter()
        .fold(format!("AWS4{secret}").into_bytes(), |key, part| sign(&key, part))
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    keyed(key).chain_update(text).finalize().into_bytes().to_vec()
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn claim_bytes(signature: &str) -> Option<Vec<u8>> {
    let digits = |at: usize| u8::from_str_radix(signature.get(at..at + 2)?, 16).ok();
    (signature.len() == 64).then_some(())?;
    (0..64).step_by(2).map(digits).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::*;

    /// The worked example of AWS's own documentation ("Create a signed AWS API request", IAM ListUsers).
    #[test]
    fn worked_example_of_the_documentation_matches() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
            ("host", "iam.amazonaws.com"),
            ("x-amz-date", "20150830T123600Z"),
            (
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date, \
                 Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            ),
        ] {
            headers.insert(name, value.parse().expect("constant header"));
        }
        let parts = Parts { method: "GET", path: "/", query: "Action=ListUsers&Version=2010-05-08", headers: &headers };
        let claim = Claim::parse(&headers).expect("well formed");
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        assert_eq!(matches(&claim, &parts, b"", secret), Ok(true));
        assert_eq!(matches(&claim, &parts, b"x", secret), Ok(false));
        assert_eq!(matches(&claim, &parts, b"", "another"), Ok(false));
    }
}
