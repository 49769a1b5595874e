//! AppSync's own scalars: text on the wire, distinguished by name only.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};

macro_rules! text_scalar {
    ($($(#[$doc:meta])* $name:ident = $wire:literal;)*) => {$(
        $(#[$doc])*
        pub(super) struct $name(pub(super) String);

        #[Scalar(name = $wire)]
        impl ScalarType for $name {
            fn parse(value: Value) -> InputValueResult<Self> {
                match value {
                    Value::String(text) => Ok(Self(text)),
                    other => Err(InputValueError::expected_type(other)),
                }
            }

            fn to_value(&self) -> Value {
                Value::String(self.0.clone())
            }
        }
    )*};
}

text_scalar! {
    /// JSON as text.
    Json = "AWSJSON";
    /// A URL.
    Url = "AWSURL";
    /// An extended ISO 8601 date and time.
    DateTime = "AWSDateTime";
    /// An IPv4 or IPv6 address.
    IpAddress = "AWSIPAddress";
}
