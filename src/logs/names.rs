//! The name of a log stream. Groups of nodes are named by `managed_app_runtimes::names`.

use time::OffsetDateTime;

/// The name of a stream that is created `now` (contract): `YYYY/MM/DD/<32 hex digits>`.
pub fn stream_name(now: OffsetDateTime, random: [u8; 16]) -> String {
    format!("{:04}/{:02}/{:02}/{}", now.year(), u8::from(now.month()), now.day(), hex::encode(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_streams_are_named_as_in_the_contract() {
        let at = time::macros::datetime!(2026-01-02 03:04 UTC);
        assert_eq!(stream_name(at, [0xab; 16]), format!("2026/01/02/{}", "ab".repeat(16)));
    }
}
