//! Groups on interfaces and subnets.

use policy::diff::Change;
use reqwest::Method;

use super::act::{ChangeOf, Outcome, changed};
use super::client::Condition;
use super::errors::{Failure, Kind};
use super::models::Place;
use super::provider::Network;
use super::survey::READ_INTERFACES;
use crate::converge::StepState;

pub(super) const READ_SUBNET: &str = "Microsoft.Network/virtualNetworks/subnets/read";
pub(super) const WRITE_INTERFACE: &str = "Microsoft.Network/networkInterfaces/write";
pub(super) const WRITE_SUBNET: &str = "Microsoft.Network/virtualNetworks/subnets/write";

impl Network {
    /// Gives an interface or a subnet its group, or takes it away; from one group of ours to another in one call.
    pub(super) async fn attach(&self, id: &str, changes: &[&ChangeOf]) -> Outcome {
        let is_subnet = id.contains("/subnets/");
        let (read, write) = if is_subnet { (READ_SUBNET, WRITE_SUBNET) } else { (READ_INTERFACES, WRITE_INTERFACE) };
        let path = self.survey.places.get(id).map_or(id, |place| place.id.as_str());
        let place: Place = self.arm.read(read, path).await?;
        let to = changes
            .iter()
            .find(|change| matches!(change, Change::Create { .. }))
            .map(|change| self.group_path(change.key().group()));
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        let has = place.group().map(str::to_owned);
        match (&has, &to) {
            (None, None) => return Ok((StepState::Already, None)),
            (Some(has), Some(to)) if same(has, to) => return Ok((StepState::Already, None)),
            (Some(has), _) if !self.look.ours.values().any(|group| same(&group.id, has)) => {
                let name = has.rsplit('/').next().unwrap_or(has);
                let doing = format!("{path} has network security group {name}, which is not ours; detach it first");
                return Err(Failure { kind: Kind::Refused, code: "NotOurs".to_owned(), doing, cause: None });
            }
            (Some(has), None) => {
                let left = changes.iter().any(|change| same(has, &self.group_path(change.key().group())));
                if !left {
                    return Err(changed(has));
                }
            }
            (None | Some(_), Some(_)) => {}
        }
        let condition = place.etag().map_or(Condition::Anything, |etag| Condition::Match(etag.to_owned()));
        let body = place.with_group(to.as_deref());
        match self.arm.write_and_wait(write, Method::PUT, path, Some(&body), &condition).await {
            Ok(()) => Ok((StepState::Done, None)),
            Err(failure) if failure.is_open() => {
                let after: Place = self.arm.read(read, path).await?;
                let made = match (after.group(), &to) {
                    (Some(has), Some(to)) => same(has, to),
                    (None, None) => true,
                    _ => false,
                };
                if made { Ok((StepState::Already, Some(failure.code))) } else { Err(failure) }
            }
            Err(failure) => Err(failure),
        }
    }
}
