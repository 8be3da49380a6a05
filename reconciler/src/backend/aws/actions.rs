//! Every action we ask AWS for: what is not here is not called, and the policy in `deploy/aws-iam-policy.json` allows just these.

/// An action, and what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// As a policy of IAM writes the service: `ec2`.
    pub service: &'static str,
    /// As the service does: `DescribeSecurityGroups`.
    pub name: &'static str,
    /// Whether it changes something.
    pub writes: bool,
}

const fn reads(service: &'static str, name: &'static str) -> Action {
    Action { service, name, writes: false }
}

const fn writes(name: &'static str) -> Action {
    Action { service: "ec2", name, writes: true }
}

pub(super) const DESCRIBE_VPCS: Action = reads("ec2", "DescribeVpcs");
pub(super) const DESCRIBE_GROUPS: Action = reads("ec2", "DescribeSecurityGroups");
pub(super) const DESCRIBE_RULES: Action = reads("ec2", "DescribeSecurityGroupRules");
pub(super) const DESCRIBE_INTERFACES: Action = reads("ec2", "DescribeNetworkInterfaces");
pub(super) const DESCRIBE_INSTANCES: Action = reads("ec2", "DescribeInstances");
pub(super) const DESCRIBE_LISTS: Action = reads("ec2", "DescribeManagedPrefixLists");
pub(super) const PREFIX_LIST_ENTRIES: Action = reads("ec2", "GetManagedPrefixListEntries");
pub(super) const GET_QUOTA: Action = reads("servicequotas", "GetServiceQuota");
pub(super) const LOOKUP_EVENTS: Action = reads("cloudtrail", "LookupEvents");
pub(super) const CREATE_GROUP: Action = writes("CreateSecurityGroup");
pub(super) const CREATE_TAGS: Action = writes("CreateTags");
pub(super) const AUTHORIZE_INGRESS: Action = writes("AuthorizeSecurityGroupIngress");
pub(super) const AUTHORIZE_EGRESS: Action = writes("AuthorizeSecurityGroupEgress");
pub(super) const MODIFY_RULES: Action = writes("ModifySecurityGroupRules");
pub(super) const REVOKE_INGRESS: Action = writes("RevokeSecurityGroupIngress");
pub(super) const REVOKE_EGRESS: Action = writes("RevokeSecurityGroupEgress");
pub(super) const MODIFY_INTERFACE: Action = writes("ModifyNetworkInterfaceAttribute");
pub(super) const DELETE_GROUP: Action = writes("DeleteSecurityGroup");

/// All of them. `sts:AssumeRole` is beside them: it is asked for with the credentials that are there before.
pub const ACTIONS: [Action; 18] = [
    DESCRIBE_VPCS,
    DESCRIBE_GROUPS,
    DESCRIBE_RULES,
    DESCRIBE_INTERFACES,
    DESCRIBE_INSTANCES,
    DESCRIBE_LISTS,
    PREFIX_LIST_ENTRIES,
    GET_QUOTA,
    LOOKUP_EVENTS,
    CREATE_GROUP,
    CREATE_TAGS,
    AUTHORIZE_INGRESS,
    AUTHORIZE_EGRESS,
    MODIFY_RULES,
    REVOKE_INGRESS,
    REVOKE_EGRESS,
    MODIFY_INTERFACE,
    DELETE_GROUP,
];
