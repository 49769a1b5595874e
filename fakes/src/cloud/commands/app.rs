//! Commands for the app and its tenant. They edit the world and return the changes to send; nothing is sent here.

use crate::cloud::World;
use crate::cloud::messages::{Change, app_object, tenant_object};
use crate::cloud::state::{App, Tenant};

impl World {
    /// Changes the app itself.
    ///
    /// # Panics
    /// When the app was removed.
    pub fn change_app(&mut self, edit: impl FnOnce(&mut App)) -> Vec<Change> {
        let old = app_object(self);
        edit(self.app.as_mut().expect("app_object has found it"));
        vec![Change::updated(old, app_object(self))]
    }

    /// Changes the tenant.
    pub fn change_tenant(&mut self, edit: impl FnOnce(&mut Tenant)) -> Vec<Change> {
        let old = tenant_object(self);
        edit(&mut self.tenant);
        vec![Change::updated(old, tenant_object(self))]
    }

    /// Removes the app with everything in it.
    ///
    /// # Panics
    /// When it was removed before.
    pub fn remove_app(&mut self) -> Vec<Change> {
        let old = app_object(self);
        let names: Vec<_> = self.nodes.keys().cloned().collect();
        for name in names {
            self.remove_node(&name);
        }
        self.app = None;
        vec![Change::removed(old)]
    }
}
