//! Apps and nodes that do not run on managed hosts. This cloud has none, so no value of these types exists; clients for
//! every kind of app name them in their queries, and AppSync would reject unknown types.

#![allow(unreachable_code, reason = "what the macro makes of a method follows its body, which never returns")]

use async_graphql::{Object, Union};

use super::parts::{AwsCredentials, Edge, MessageType, Tenant};
use super::scalars::{Json, Url};

pub(super) enum CrossAccountApp {}

pub(super) enum ExternalApp {}

pub(super) enum ExternalNode {}

#[derive(Union)]
pub(super) enum RemoteApp {
    CrossAccount(CrossAccountApp),
    External(ExternalApp),
}

macro_rules! remote_apps {
    ($($name:ident)*) => {$(
        #[Object]
        impl $name {
            async fn audit_records_endpoint(&self) -> Url {
                match *self {}
            }

            async fn config(&self) -> Option<Json> {
                match *self {}
            }

            pub(super) async fn name(&self) -> String {
                match *self {}
            }

            async fn table_access(&self) -> bool {
                match *self {}
            }

            pub(super) async fn tenant(&self) -> Tenant {
                match *self {}
            }

            #[graphql(name = "GetAwsCredentials")]
            async fn aws_credentials(&self, #[graphql(name = "duration")] _duration: Option<i32>) -> AwsCredentials {
                match *self {}
            }
        }
    )*};
}

remote_apps! { CrossAccountApp ExternalApp }

#[Object]
impl ExternalNode {
    async fn app(&self) -> RemoteApp {
        match *self {}
    }

    async fn config(&self) -> Option<Json> {
        match *self {}
    }

    pub(super) async fn name(&self) -> String {
        match *self {}
    }

    async fn receive_edges(&self) -> Option<Vec<Option<Edge>>> {
        match *self {}
    }

    async fn receive_message_type(&self) -> Option<MessageType> {
        match *self {}
    }

    async fn send_edges(&self) -> Option<Vec<Option<Edge>>> {
        match *self {}
    }

    async fn send_message_type(&self) -> Option<MessageType> {
        match *self {}
    }

    async fn stopped(&self) -> Option<bool> {
        match *self {}
    }

    pub(super) async fn tenant(&self) -> Tenant {
        match *self {}
    }
}
