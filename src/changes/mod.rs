//! Change messages: SQS long poll to typed changes.
