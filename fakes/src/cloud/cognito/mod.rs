//! Cognito on the wire: `InitiateAuth` and `RespondToAuthChallenge` of a user pool client without a secret, and the
//! keys of its tokens. Only request and response formats; `pool` decides about sign-ins.

mod jwt;
mod pool;
mod srp;

use std::sync::Arc;

use serde_json::{Value, json};
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::services::{KEYS_PATH, aws_error};

pub(super) use jwt::keys;
use pool::{Challenge, ChallengeResponse, Refusal, Tokens};
pub(super) use pool::{Lifetimes, Pool, Settings};

/// Serves the pool at the root of the server, where the AWS SDKs expect it, and its keys below its id.
pub(super) async fn mount(server: &MockServer, pool: Arc<Pool>) {
    Mock::given(method("GET"))
        .and(path(format!("/{}{KEYS_PATH}", pool.id())))
        .respond_with(ResponseTemplate::new(200).set_body_json(keys()))
        .mount(server)
        .await;
    for (operation, handle) in [("InitiateAuth", initiate as Handler), ("RespondToAuthChallenge", respond)] {
        let pool = Arc::clone(&pool);
        let target = format!("AWSCognitoIdentityProviderService.{operation}");
        Mock::given(method("POST"))
            .and(path("/"))
            .and(header("x-amz-target", target.as_str()))
            .respond_with(move |request: &Request| answer(&pool, handle, request))
            .mount(server)
            .await;
    }
}

type Handler = fn(&Pool, &Value) -> Result<Value, Refusal>;

fn answer(pool: &Pool, handle: Handler, request: &Request) -> ResponseTemplate {
    let outcome = request
        .body_json::<Value>()
        .map_err(|_| Refusal::invalid("The request is not JSON."))
        .and_then(|body| handle(pool, &body));
    match outcome {
        Ok(body) => ResponseTemplate::new(200).set_body_raw(body.to_string(), "application/x-amz-json-1.1"),
        Err(refusal) => aws_error(400, refusal.code, &refusal.message),
    }
}

fn initiate(pool: &Pool, body: &Value) -> Result<Value, Refusal> {
    pool.check_client(text(body, "ClientId")?)?;
    let parameters = &body["AuthParameters"];
    match text(body, "AuthFlow")? {
        "USER_SRP_AUTH" => {
            let challenge = pool.challenge(text(parameters, "USERNAME")?, text(parameters, "SRP_A")?)?;
            Ok(challenge_answer(challenge))
        }
        "REFRESH_TOKEN_AUTH" | "REFRESH_TOKEN" => Ok(token_answer(pool.refresh(text(parameters, "REFRESH_TOKEN")?)?)),
        other => Err(Refusal::invalid(&format!("{other} flow not enabled for this client"))),
    }
}

fn respond(pool: &Pool, body: &Value) -> Result<Value, Refusal> {
    pool.check_client(text(body, "ClientId")?)?;
    match text(body, "ChallengeName")? {
        "PASSWORD_VERIFIER" => {
            let responses = &body["ChallengeResponses"];
            let tokens = pool.verify(&ChallengeResponse {
                user: text(responses, "USERNAME")?,
                secret_block: text(responses, "PASSWORD_CLAIM_SECRET_BLOCK")?,
                signature: text(responses, "PASSWORD_CLAIM_SIGNATURE")?,
                timestamp: text(responses, "TIMESTAMP")?,
            })?;
            Ok(token_answer(tokens))
        }
        other => Err(Refusal::invalid(&format!("Unexpected challenge {other}"))),
    }
}

fn challenge_answer(challenge: Challenge) -> Value {
    json!({
        "ChallengeName": "PASSWORD_VERIFIER",
        "ChallengeParameters": {
            "SALT": challenge.salt,
            "SECRET_BLOCK": challenge.secret_block,
            "SRP_B": challenge.public_b,
            "USERNAME": challenge.srp_id,
            "USER_ID_FOR_SRP": challenge.srp_id,
        },
    })
}

fn token_answer(tokens: Tokens) -> Value {
    let mut result = json!({
        "AccessToken": tokens.access, "IdToken": tokens.id, "TokenType": "Bearer", "ExpiresIn": tokens.seconds,
    });
    if let Some(refresh) = tokens.refresh {
        result["RefreshToken"] = json!(refresh);
    }
    json!({"AuthenticationResult": result, "ChallengeParameters": {}})
}

fn text<'a>(object: &'a Value, key: &str) -> Result<&'a str, Refusal> {
    object[key].as_str().ok_or_else(|| Refusal::invalid(&format!("Missing required parameter {key}")))
}
