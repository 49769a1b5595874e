//! Fault injection beyond whole services: messages, tokens, credentials, users, and stale or corrupted responses. Each
//! setting affects later events.

use std::sync::PoisonError;
use std::time::Duration;

use super::cognito::Lifetimes;
use super::sigv4::{HostCall, HostKeys, Retirement, Scope};
use super::{FakeCloud, MalformedResponse, RemovalForm};

/// Messages.
impl FakeCloud {
    /// The next `times` change messages are never sent.
    pub fn drop_next(&self, times: usize) {
        self.shared.outbox.drop_next(times);
    }

    /// The next `times` change messages are sent twice, as two messages with the same tracking id.
    pub fn double_next(&self, times: usize) {
        self.shared.outbox.double_next(times);
    }

    /// The next `times` change messages are delayed by this time; the commands that send them return at once.
    pub fn delay_next(&self, times: usize, delay: Duration) {
        self.shared.outbox.delay_next(times, delay);
    }

    /// The next `count` change messages are held until the last of them exists, then sent in reverse order.
    pub fn reverse_next(&self, count: usize) {
        self.shared.outbox.swap_next(count);
    }

    /// Form of removal messages from now on.
    pub fn set_removal_form(&self, form: RemovalForm) {
        self.shared.outbox.set_removal_form(form);
    }

    /// Deletes the queue of changes with all its messages; the edge gets another one at once.
    pub fn replace_change_queue(&self) {
        let old = self.change_queue();
        let name = format!("change-receiver-{}.fifo", super::random_hex::<4>());
        let new = self.shared.queues.create(&name);
        self.quietly(|world| world.change_edge.queue = new);
        self.shared.queues.delete(&old);
    }
}

/// Sign-in and tokens.
impl FakeCloud {
    /// Expires all access tokens issued so far.
    pub fn expire_tokens(&self) {
        self.shared.pool.expire_access_tokens();
    }

    /// Expires all refresh tokens issued so far.
    pub fn expire_refresh_tokens(&self) {
        self.shared.pool.expire_refresh_tokens();
    }

    /// Revokes all refresh tokens issued so far.
    pub fn revoke_refresh_tokens(&self) {
        self.shared.pool.revoke_refresh_tokens();
    }

    /// Lifetime of access and refresh tokens that are issued from now on.
    pub fn set_token_lifetimes(&self, access: Duration, refresh: Duration) {
        self.shared.pool.set_lifetimes(Lifetimes { access, refresh });
    }

    /// Changes the user's password. [`FakeCloud::env`] still returns the old one.
    pub fn set_password(&self, password: &str) {
        self.shared.pool.set_password(password);
    }

    /// Disables or enables the user: no sign-in, no refresh. Access tokens issued before stay valid, as in Cognito.
    pub fn set_user_enabled(&self, enabled: bool) {
        self.shared.pool.set_enabled(enabled);
    }
}

/// The host's clock and keys.
impl FakeCloud {
    /// Sets the offset of the clock that signatures are compared with, as if the host's clock were wrong.
    pub fn set_clock_offset(&self, offset: time::Duration) {
        self.shared.access.set_clock_offset(offset);
    }

    /// Rejects the keys of the host's operator from now on; returns id and secret of the new ones. [`FakeCloud::env`]
    /// still returns the old ones.
    pub fn rotate_operator_keys(&self) -> (String, String) {
        self.shared.access.revoke(&self.env["AWS_ACCESS_KEY_ID"]);
        let keys = (format!("AKIA{}", super::random_hex::<8>().to_uppercase()), super::random_hex::<20>());
        self.shared.access.allow(&keys.0, &keys.1, None, Scope::Operator, None);
        keys
    }

    /// Creates new temporary keys of the host. Older ones stay valid, until [`FakeCloud::retire_host_keys`].
    pub fn add_host_keys(&self) -> HostKeys {
        self.shared.access.add_host_keys()
    }

    /// Rejects all keys of the host but the newest from now on; returns how many were valid until now.
    /// [`FakeCloud::env`] still returns those of the start.
    pub fn retire_host_keys(&self, how: Retirement) -> usize {
        self.shared.access.retire_host_keys(how)
    }

    /// The calls of ECR, ECR Public and CloudWatch Logs so far with their responses, oldest first; the newest 100,000
    /// are kept. Calls that [`Services`](super::Services) failed are not included.
    pub fn host_calls(&self) -> Vec<HostCall> {
        self.shared.access.host_calls()
    }
}

/// Credentials and reads.
impl FakeCloud {
    /// Lifetime of AWS credentials that are issued to the app from now on; overrides the client's request.
    pub fn set_credentials_lifetime(&self, lifetime: Option<Duration>) {
        let lifetime = lifetime.map(|lifetime| time::Duration::try_from(lifetime).unwrap_or(time::Duration::MAX));
        self.shared.credentials().lifetime = lifetime;
    }

    /// All services reject the AWS credentials issued to the app so far.
    pub fn revoke_credentials(&self) {
        for id in std::mem::take(&mut self.shared.credentials().given) {
            self.shared.access.revoke(&id);
        }
    }

    /// Delays AppSync's responses by this time; they show the state at the time of the request.
    pub fn set_appsync_delay(&self, delay: Option<Duration>) {
        *self.shared.appsync_delay.lock().unwrap_or_else(PoisonError::into_inner) = delay;
    }

    /// The next `times` responses that list the app's nodes show the world before the last change.
    pub fn stale_reads(&self, times: usize) {
        self.shared.history.stale_reads(times);
    }

    /// The next `times` responses that list the app's nodes are corrupted like this.
    pub fn malform_next(&self, how: MalformedResponse, times: usize) {
        self.shared.malformed.next(how, times);
    }
}

impl super::Shared {
    pub(super) fn appsync_delay(&self) -> Option<Duration> {
        *self.appsync_delay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn credentials_lifetime(&self) -> Option<time::Duration> {
        self.credentials().lifetime
    }

    pub(super) fn remember_credentials(&self, id: &str) {
        self.credentials().given.push(id.to_owned());
    }
}
