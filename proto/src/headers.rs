//! Header names of the piece link, in one place for both ends.

/// Node id of the caller; a grant names the node it was made for.
pub const NODE: &str = "darner-node";
/// Scheme of the `authorization` header that carries a grant: `Darner-Grant <hex>`.
pub const GRANT_SCHEME: &str = "Darner-Grant";
/// Scheme of the `authorization` header that carries a sealed ticket: `Darner <text>`.
pub const TICKET_SCHEME: &str = "Darner";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
