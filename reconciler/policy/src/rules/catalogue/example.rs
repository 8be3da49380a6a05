//! The network that examples of rules stand in. Each macro is one document, closed by a separator, so that an example is
//! `concat!(zones!(), inventory!(), "…")`.

/// Zones of a small payment company.
macro_rules! zones {
    () => {
        concat!(
            "{apiVersion: pci-segment/v1, kind: Zones, metadata: {name: zones}, spec: {zones: [\n",
            "  {name: cde-db, classes: [cde], trust: trusted, pciScope: in, cidrs: [10.0.30.0/24, \"fd00:30::/64\"]},\n",
            "  {name: cde-app, classes: [cde], trust: trusted, pciScope: in, cidrs: [10.0.1.0/24, \"fd00:1::/64\"]},\n",
            "  {name: dmz, classes: [dmz], trust: trusted, pciScope: in, cidrs: [10.0.50.0/24, \"fd00:50::/64\"]},\n",
            "  {name: operations, classes: [connected], trust: trusted, pciScope: connected, cidrs: [10.0.9.0/24]},\n",
            "  {name: guests, classes: [wireless], pciScope: out, cidrs: [10.30.0.0/16], outOfScopeReason: \"Guests; no account data.\"},\n",
            "  {name: test, classes: [preprod], pciScope: out, cidrs: [10.40.0.0/16], outOfScopeReason: \"Made-up data only.\"},\n",
            "  {name: corporate, classes: [corporate], pciScope: out, cidrs: [10.20.0.0/16], outOfScopeReason: \"Offices; no account data.\"}]}}\n",
            "---\n"
        )
    };
}

/// Its endpoints: a card database, a payment application, a public web server.
macro_rules! inventory {
    () => {
        concat!(
            "{apiVersion: pci-segment/v1, kind: Inventory, metadata: {name: inventory}, spec: {workloads: [\n",
            "  {name: db-01, labels: {pci-env: cde, tier: database}, addresses: [10.0.30.11, \"fd00:30::11\"], zone: cde-db, storesChd: true,\n",
            "    function: \"Card vault\", ports: [{name: postgres, protocol: TCP, port: 5432}], enforcedBy: [aws],\n",
            "    identity: {aws: {networkInterfaceId: eni-0123456789abcdef0}}}], hosts: [\n",
            "  {name: app-01, labels: {pci-env: cde, tier: app}, addresses: [10.0.1.10], zone: cde-app, function: \"Payment API\"},\n",
            "  {name: web-01, labels: {pci-env: dmz, tier: web}, addresses: [10.0.50.10], zone: dmz, function: \"Checkout page\",\n",
            "    publicServices: [https]}]}}\n",
            "---\n"
        )
    };
}

/// Its approved services.
macro_rules! services {
    () => {
        concat!(
            "{apiVersion: pci-segment/v1, kind: Services, metadata: {name: services}, spec: {services: [\n",
            "  {name: postgres, classes: [secure, datastore], ports: [{protocol: TCP, port: 5432}], zones: [{from: cde-app, to: cde-db}],\n",
            "    approvedBy: network-security, approvedAt: 2026-01-12},\n",
            "  {name: https, classes: [secure, web], ports: [{protocol: TCP, port: 443}],\n",
            "    zones: [{from: internet, to: dmz}, {from: dmz, to: cde-app}, {from: operations, to: cde-app}],\n",
            "    approvedBy: network-security, approvedAt: 2026-01-12},\n",
            "  {name: dns, classes: [secure, dns], ports: [{protocol: UDP, port: 53}], servers: [10.0.9.53/32],\n",
            "    zones: [{from: cde-app, to: operations}, {from: cde-db, to: operations}], approvedBy: network-security, approvedAt: 2026-01-12}]}}\n",
            "---\n"
        )
    };
}

/// Its approved flows.
macro_rules! data_flows {
    () => {
        concat!(
            "{apiVersion: pci-segment/v1, kind: DataFlows, metadata: {name: data-flows}, spec: {flows: [\n",
            "  {id: DF-12, from: cde-app, to: cde-db, services: [postgres], accountData: true, purpose: \"Authorisation writes\",\n",
            "    updatedAt: 2026-01-12, approvedBy: network-security, approvedAt: 2026-01-12},\n",
            "  {id: DF-13, from: dmz, to: cde-app, services: [https], accountData: true, purpose: \"Checkout\",\n",
            "    updatedAt: 2026-01-12, approvedBy: network-security, approvedAt: 2026-01-12}]}}\n",
            "---\n"
        )
    };
}

/// A policy that isolates everybody of the CDE and of the DMZ in both directions.
macro_rules! floor {
    () => {
        concat!(
            "{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {name: floor, annotations: {pci-dss: \"Req 1.3.1\"}},\n",
            "  spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}\n",
            "---\n"
        )
    };
}

pub(super) use {data_flows, floor, inventory, services, zones};
