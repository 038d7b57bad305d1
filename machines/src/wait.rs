//! Waits until machines answer over ssh in their roles.
//!
//! No provider reports the end of the first boot, in which a machine configures
//! itself and reboots, so its ssh server is polled.

use std::time::Duration;

use crate::{Error, Host, Role, Testbed};

/// Time between two attempts.
const PAUSE: Duration = Duration::from_secs(5);
/// Written by `vm-images/files/role` after everything else.
const ROLE_FILE: &str = "/var/db/l4sllm/role";
/// Exit status of ssh for its own errors; otherwise it returns the command's.
pub(crate) const SSH_FAILED: i32 = 255;
/// Errors of ssh that a later attempt does not resolve. A rejected host key is
/// another error already.
const PERMANENT: [&str; 2] = ["Permission denied", "Bad configuration option"];

impl Testbed<'_> {
    /// Waits until every machine answers over ssh and has its role, and calls
    /// `answers` for each that does. Roles of existing machines are the
    /// operator's, so only an answer is required of these.
    ///
    /// # Errors
    /// A machine does not answer within `timeout`, refuses the login, has another
    /// host key, or has no role or another one.
    pub fn wait(
        &self,
        host: &mut dyn Host,
        timeout: Duration,
        answers: &mut dyn FnMut(Role),
    ) -> Result<(), Error> {
        let deadline = host.now() + timeout;
        for role in Role::ALL {
            while let Err(error) = self.check_role(host, role) {
                if !may_resolve(&error) {
                    return Err(error);
                }
                if host.now() >= deadline {
                    return Err(Error::NoAnswer {
                        role,
                        seconds: timeout.as_secs(),
                        source: Box::new(error),
                    });
                }
                host.pause(PAUSE);
            }
            answers(role);
        }
        Ok(())
    }

    /// Compares the role that a machine reports with `role`; asks once.
    fn check_role(&self, host: &mut dyn Host, role: Role) -> Result<(), Error> {
        if !self.provider.owns_machines() {
            return self.provider.state(host, role).map(drop);
        }
        let Some(ask) = self.shell(host, role, &["cat", ROLE_FILE])? else {
            return Ok(());
        };
        let found = match host.ask(&ask) {
            Ok(None) => return Ok(()),
            Ok(Some(text)) => text.trim().to_owned(),
            Err(Error::Failed { code, message, .. }) if code != Some(SSH_FAILED) => {
                return Err(Error::NoRole { role, message });
            }
            Err(error) => return Err(error.about_host_key(role, &self.known_hosts(role))),
        };
        if found != role.name() {
            return Err(Error::OtherRole { role, found });
        }
        Ok(())
    }
}

/// Returns whether the cause of an error may be that the machine is booting. Its
/// address may be unknown then.
fn may_resolve(error: &Error) -> bool {
    match error {
        Error::Failed { message, .. } => !PERMANENT.iter().any(|part| message.contains(part)),
        Error::Unexpected { .. } => true,
        _ => false,
    }
}
