//! A small client of the fake cloud: sign-in by another implementation of SRP, GraphQL by hand, SQS by the AWS SDK.

use std::collections::BTreeMap;

use aws_cognito_srp::{SrpClient, User};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use managed_app_fakes::FakeCloud;
use serde_json::{Value, json};

/// The tenant's region unless a test sets another.
const REGION: &str = "us-east-2";
/// The query for all fields that the daemon may rely on.
pub(crate) const GET_APP: &str = "query Snapshot($name: String!, $tenant: String!) {
  GetApp(name: $name, tenant: $tenant) { __typename name tenant { name region config audit table }
    ... on ManagedApp { config tableAccess auditRecordsEndpoint nodes { __typename
      ... on AppChangeReceiverNode { name receiveEdge { queue source { name } } receiveMessageType { name auditor }
        app { ... on ManagedApp { auditRecordsEndpoint name } } tenant { region table config audit } }
      ... on ManagedNode { name app { name config } config loggingLevel stopped managedNodeType { name imageUri }
        mounts { description source target }
        ports { containerPort description hostAddress hostPort protocol }
        receiveEdges { queue source { name } } sendEdges { queue target { name } }
        receiveMessageType { name auditor } sendMessageType { name auditor } } } } } }";
const GET_CREDENTIALS: &str = "query($name: String!, $tenant: String!, $duration: Int) {
  GetApp(name: $name, tenant: $tenant) { ... on ManagedApp {
    GetAwsCredentials(duration: $duration) { accessKeyId secretAccessKey sessionToken expiration } } } }";

pub(crate) struct Client {
    http: reqwest::Client,
    pub(crate) env: BTreeMap<String, String>,
    /// The exact value of `Authorization`.
    pub(crate) token: String,
}

/// A client without a proxy, whatever the environment of the tests.
pub(crate) fn plain_http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

impl Client {
    /// Not signed in yet.
    pub(crate) fn new(cloud: &FakeCloud) -> Self {
        // A second installation in the same process fails and changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { http: plain_http(), env: cloud.env(), token: String::new() }
    }

    pub(crate) async fn signed_in(cloud: &FakeCloud) -> Self {
        let mut client = Self::new(cloud);
        let (status, answer) = client.sign_in().await;
        assert_eq!(status, 200, "{answer}");
        client.token = text(&answer["AuthenticationResult"]["AccessToken"]);
        client
    }

    /// One call of Cognito: status and body.
    pub(crate) async fn cognito(&self, operation: &str, body: &Value) -> (u16, Value) {
        let request = self
            .http
            .post(&self.env["AWS_ENDPOINT_URL"])
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("AWSCognitoIdentityProviderService.{operation}"))
            .body(body.to_string());
        let answer = request.send().await.expect("the fake answers");
        (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON"))
    }

    /// Both halves of a sign-in; returns the last response.
    pub(crate) async fn sign_in(&self) -> (u16, Value) {
        let user = User::new(&self.env["USER_POOL_ID"], &self.env["USER_NAME"], &self.env["PASSWORD"]);
        let srp = SrpClient::new(user, &self.env["CLIENT_ID"], None);
        let begin = srp.get_auth_parameters();
        let (status, answer) = self.begin(&begin.a).await;
        if status != 200 {
            return (status, answer);
        }
        let challenge = &answer["ChallengeParameters"];
        let [block, user_id, salt, public_b] =
            ["SECRET_BLOCK", "USER_ID_FOR_SRP", "SALT", "SRP_B"].map(|key| text(&challenge[key]));
        let proof = srp.verify(&block, &user_id, &salt, &public_b).expect("the challenge can be read");
        let responses = json!({
            "USERNAME": user_id, "PASSWORD_CLAIM_SECRET_BLOCK": proof.password_claim_secret_block,
            "PASSWORD_CLAIM_SIGNATURE": proof.password_claim_signature, "TIMESTAMP": proof.timestamp,
        });
        self.respond(&responses).await
    }

    pub(crate) async fn begin(&self, public_a: &str) -> (u16, Value) {
        let parameters = json!({"USERNAME": self.env["USER_NAME"], "SRP_A": public_a});
        self.initiate("USER_SRP_AUTH", &parameters).await
    }

    pub(crate) async fn refresh(&self, token: &str) -> (u16, Value) {
        self.initiate("REFRESH_TOKEN_AUTH", &json!({"REFRESH_TOKEN": token})).await
    }

    pub(crate) async fn respond(&self, responses: &Value) -> (u16, Value) {
        let body = json!({
            "ChallengeName": "PASSWORD_VERIFIER", "ClientId": self.env["CLIENT_ID"], "ChallengeResponses": responses,
        });
        self.cognito("RespondToAuthChallenge", &body).await
    }

    async fn initiate(&self, flow: &str, parameters: &Value) -> (u16, Value) {
        let body = json!({"AuthFlow": flow, "ClientId": self.env["CLIENT_ID"], "AuthParameters": parameters});
        self.cognito("InitiateAuth", &body).await
    }

    /// One GraphQL request with the app's name and tenant as variables, and others: status and body.
    pub(crate) async fn graphql(&self, query: &str, more: Value) -> (u16, Value) {
        let mut variables = json!({"name": self.env["APP"], "tenant": self.env["TENANT"]});
        for (key, value) in more.as_object().into_iter().flatten() {
            variables[key] = value.clone();
        }
        let request = self.http.post(&self.env["APPSYNC_ENDPOINT"]).header("authorization", &self.token);
        let answer = request.json(&json!({"query": query, "variables": variables})).send().await;
        let answer = answer.expect("the fake answers");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    /// The app as one complete snapshot, which must have no errors.
    pub(crate) async fn app(&self) -> Value {
        let (status, mut body) = self.graphql(GET_APP, json!({})).await;
        assert_eq!((status, &body["errors"]), (200, &Value::Null), "{body}");
        body["data"]["GetApp"].take()
    }

    /// A managed node of the snapshot; null when it is absent.
    pub(crate) async fn node(&self, name: &str) -> Value {
        let app = self.app().await;
        let nodes = app["nodes"].as_array().expect("a list of nodes");
        nodes.iter().find(|node| node["name"] == name).cloned().unwrap_or_default()
    }

    /// AWS credentials of the app: status and body.
    pub(crate) async fn credentials(&self, duration: Option<i32>) -> (u16, Value) {
        self.graphql(GET_CREDENTIALS, json!({"duration": duration})).await
    }

    /// A client of SQS with new credentials of the app.
    pub(crate) async fn queue(&self) -> aws_sdk_sqs::Client {
        let (_, body) = self.credentials(None).await;
        let given = &body["data"]["GetApp"]["GetAwsCredentials"];
        let [id, secret, token] = ["accessKeyId", "secretAccessKey", "sessionToken"].map(|key| text(&given[key]));
        let endpoint = &self.env["AWS_ENDPOINT_URL_SQS"];
        aws_sdk_sqs::Client::new(&config(endpoint, Credentials::new(id, secret, Some(token), None, "test")).await)
    }
}

/// A configuration of the AWS SDK without retries, so that each error is visible.
pub(crate) async fn config(endpoint: &str, credentials: Credentials) -> SdkConfig {
    let http = aws_smithy_http_client::Builder::new().tls_provider(tls::Provider::Rustls(CryptoMode::Ring));
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http.build_https())
        .endpoint_url(endpoint)
        .region(Region::new(REGION))
        .credentials_provider(credentials)
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .load()
        .await
}

/// Receives and deletes one message of a queue; waits for it if necessary.
pub(crate) async fn take(sqs: &aws_sdk_sqs::Client, url: &str) -> Message {
    let received = sqs
        .receive_message()
        .queue_url(url)
        .wait_time_seconds(20)
        .max_number_of_messages(1)
        .message_attribute_names("All")
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .send()
        .await
        .expect("the queue answers");
    let message = received.messages().first().expect("a message in time").clone();
    let receipt = message.receipt_handle().expect("a receipt");
    sqs.delete_message().queue_url(url).receipt_handle(receipt).send().await.expect("the message can be deleted");
    message
}

/// Body of the next message as JSON.
pub(crate) async fn take_body(sqs: &aws_sdk_sqs::Client, url: &str) -> Value {
    serde_json::from_str(take(sqs, url).await.body().expect("a body")).expect("JSON")
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
