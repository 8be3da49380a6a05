//! What AWS answers when it does not do what it is asked: what that means for the next step, and what to say to people.

use std::fmt::Write as _;

use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};

use super::actions::Action;
use crate::converge::BackendError;

/// So much of what AWS says is repeated.
const MESSAGE_CHARS_MAX: usize = 240;
/// Answers that mean "later", by their codes.
const THROTTLED: [&str; 8] = [
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "EC2ThrottledException",
];
const EXPIRED: [&str; 4] = ["ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId"];
const DENIED: [&str; 3] = ["UnauthorizedOperation", "AccessDenied", "AccessDeniedException"];
const UNKNOWN_CREDENTIALS: [&str; 3] = ["AuthFailure", "UnrecognizedClientException", "InvalidAccessKeyId"];
const CLOCK: [&str; 3] = ["SignatureDoesNotMatch", "RequestTimeTooSkewed", "InvalidSignatureException"];

/// What a refusal means for what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Too fast, or something is wrong over there: the same again, later.
    Later,
    /// Nobody knows what became of it.
    Unknown,
    /// It was never sent.
    Unsent,
    /// It was read and refused.
    Refused,
}

/// One call that did not do what it should.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) code: Option<String>,
    message: String,
}

impl Fault {
    pub(super) fn of<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &SdkError<E>) -> Self {
        match error {
            SdkError::ServiceError(refused) => {
                let code = refused.err().code().map(str::to_owned);
                let message = refused.err().message().unwrap_or_default().to_owned();
                let throttled = code.as_deref().is_some_and(|code| THROTTLED.contains(&code));
                let later = throttled || matches!(refused.raw().status().as_u16(), 429 | 500..=599);
                Self { kind: if later { Kind::Later } else { Kind::Refused }, code, message }
            }
            SdkError::ConstructionFailure(_) => Self { kind: Kind::Unsent, code: None, message: root(error) },
            SdkError::DispatchFailure(failed) => {
                // What broke after it was sent has a kind, or is about the connection; the rest never came that far.
                let unsent = failed.is_user() || (failed.is_other() && failed.as_other().is_none());
                let kind = if unsent { Kind::Unsent } else { Kind::Unknown };
                Self { kind, code: None, message: root(error) }
            }
            SdkError::TimeoutError(_) => Self { kind: Kind::Unknown, code: None, message: "no answer in time".to_owned() },
            SdkError::ResponseError(answer) => {
                let later = matches!(answer.raw().status().as_u16(), 429 | 500..=599);
                Self { kind: if later { Kind::Later } else { Kind::Unknown }, code: None, message: root(error) }
            }
            _ => Self { kind: Kind::Unknown, code: None, message: root(error) },
        }
    }

    /// A list that does not end.
    pub(super) fn endless(pages: usize) -> Self {
        Self { kind: Kind::Refused, code: None, message: format!("there are more than {pages} pages of them") }
    }

    /// Whether the code is one of these.
    pub(super) fn is(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    /// Whether AWS says that we may not.
    pub(super) fn denied(&self) -> bool {
        self.is(&DENIED)
    }

    /// Whether what is wrong is not what was asked for but who asks: the same with less in it would be refused as well.
    pub(super) fn of_the_caller(&self) -> bool {
        self.kind != Kind::Refused
            || self.denied()
            || [&EXPIRED[..], &UNKNOWN_CREDENTIALS, &CLOCK].iter().any(|codes| self.is(codes))
    }

    /// In words: the action, the resource, the code, and what to do.
    pub(super) fn words(&self, action: Action, resource: &str) -> BackendError {
        let Action { service, name, .. } = action;
        let mut doing = format!("{service}:{name} on {resource}");
        let _ = match (&self.code, self.kind) {
            (Some(code), _) => write!(doing, " was refused: {code}"),
            (None, Kind::Unsent) => write!(doing, " was not sent"),
            (None, Kind::Refused) => write!(doing, " was given up"),
            (None, Kind::Later | Kind::Unknown) => write!(doing, " was not answered"),
        };
        let _ = match self.advice(action) {
            Some(advice) => write!(doing, "; {advice}"),
            None => write!(doing, ": {}", plain(&self.message)),
        };
        BackendError { doing, cause: None }
    }

    fn advice(&self, Action { service, name, .. }: Action) -> Option<String> {
        if self.denied() {
            return Some(format!("allow {service}:{name} to these credentials, see deploy/aws-iam-policy.json"));
        }
        if self.is(&EXPIRED) {
            return Some("the credentials have expired; renew them, they are read again by themselves".to_owned());
        }
        if self.is(&UNKNOWN_CREDENTIALS) {
            return Some("AWS does not know these credentials; look at the profile or role, and at this host's clock".to_owned());
        }
        if self.is(&CLOCK) {
            return Some(
                "the request was not signed as AWS expects; set this host's clock, then look at the secret key".to_owned(),
            );
        }
        if self.is(&["InvalidVpcID.NotFound"]) {
            return Some("there is no such network in this region and account; look at region and aws.vpc_ids".to_owned());
        }
        if self.kind == Kind::Unsent && self.message.to_lowercase().contains("credential") {
            return Some("there are no credentials; write aws.profile, or give this process a role".to_owned());
        }
        if self.kind == Kind::Later {
            return Some("AWS asks for patience; it is tried again".to_owned());
        }
        None
    }
}

/// The innermost cause.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error.source();
    let mut last = error.to_string();
    while let Some(inner) = cause {
        last = inner.to_string();
        cause = inner.source();
    }
    last
}

/// One line without control characters.
fn plain(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(MESSAGE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::super::actions::{AUTHORIZE_INGRESS, DESCRIBE_VPCS};
    use super::*;

    fn refused(code: &str) -> Fault {
        Fault { kind: Kind::Refused, code: Some(code.to_owned()), message: "as AWS says\nin lines".to_owned() }
    }

    #[test]
    fn a07_each_refusal_names_the_action_the_resource_the_code_and_what_to_do() {
        for (code, advice) in [
            ("UnauthorizedOperation", "allow ec2:AuthorizeSecurityGroupIngress to these credentials"),
            ("RequestExpired", "the credentials have expired"),
            ("AuthFailure", "AWS does not know these credentials"),
            ("RequestTimeTooSkewed", "set this host's clock"),
            ("RulesPerSecurityGroupLimitExceeded", "as AWS says in lines"),
        ] {
            let words = refused(code).words(AUTHORIZE_INGRESS, "sg-0123").doing;
            assert!(words.starts_with(&format!("ec2:AuthorizeSecurityGroupIngress on sg-0123 was refused: {code}")), "{words}");
            assert!(words.contains(advice), "{words}");
        }
        let words = refused("InvalidVpcID.NotFound").words(DESCRIBE_VPCS, "vpc-1").doing;
        assert!(words.ends_with("look at region and aws.vpc_ids"), "{words}");
    }

    #[test]
    fn a06_only_what_is_wrong_with_the_request_itself_is_looked_for_in_its_parts() {
        assert!(!refused("InvalidParameterValue").of_the_caller());
        assert!(refused("UnauthorizedOperation").of_the_caller());
        assert!(refused("RequestExpired").of_the_caller());
    }
}
