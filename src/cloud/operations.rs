//! The GraphQL operations as typed requests and responses, generated from `graphql/`. One operation per file, because
//! each query sends all operations of its file. No logic: `decode` converts responses.
//!
//! `fragments_other_variant`: a node or app of an unknown type must not make the whole response invalid.

use graphql_client::GraphQLQuery;

/// The whole app in one response.
#[derive(GraphQLQuery)]
#[graphql(
    schema_path = "src/cloud/graphql/schema.graphql",
    query_path = "src/cloud/graphql/get_app.graphql",
    fragments_other_variant = "true"
)]
pub(super) struct GetApp;

/// AWS credentials of the app.
#[derive(GraphQLQuery)]
#[graphql(
    schema_path = "src/cloud/graphql/schema.graphql",
    query_path = "src/cloud/graphql/get_aws_credentials.graphql",
    fragments_other_variant = "true"
)]
pub(super) struct GetAwsCredentials;
