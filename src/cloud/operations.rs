//! The GraphQL operations as typed requests and answers, generated from `graphql/`. One operation a file, because every
//! operation of a file is sent along with each query. No logic: reading an answer is `decode`'s work.
//!
//! `fragments_other_variant`: a node or app of a type that is not known here must not fail the whole answer.

use graphql_client::GraphQLQuery;

/// The whole app in one answer.
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
