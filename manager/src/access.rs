//! Who asks, and what he may do.
//!
//! Owns: the one place where a request becomes a [`Caller`]: a session cookie or a Bearer token, the role, and the
//! check that a change asked for with a cookie comes from our own page. A handler cannot run without naming the role
//! it needs: it takes a [`Viewer`], an [`Operator`] or an [`Admin`]. Never: a password or token in a log line.

pub mod attempts;
pub mod first_admin;
pub mod origin;
pub mod password;
pub mod secret;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};

use crate::catalog::Role;
use crate::control::Control;
use crate::problem::Problem;

/// Name of the session cookie.
pub const COOKIE: &str = "darner_session";

/// How a caller showed who he is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// The cookie of a session, known by its hash.
    Session {
        /// SHA-256 of the cookie, in hex.
        hash: String,
        /// When it ends.
        expires_ms: i64,
    },
    /// A personal access token.
    Token,
}

impl Via {
    /// For the audit.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Session { .. } => "session",
            Self::Token => "token",
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub user: String,
    /// What this caller may do.
    pub role: Role,
    /// How he showed it.
    pub via: Via,
}

/// A caller who may look.
#[derive(Debug, Clone)]
pub struct Viewer(pub Caller);

/// A caller who may prefetch and purge.
#[derive(Debug, Clone)]
pub struct Operator(pub Caller);

/// A caller who may configure.
#[derive(Debug, Clone)]
pub struct Admin(pub Caller);

impl FromRequestParts<Control> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, Problem> {
        caller(parts, control, Role::Viewer).await.map(Self)
    }
}

impl FromRequestParts<Control> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, Problem> {
        caller(parts, control, Role::Operator).await.map(Self)
    }
}

impl FromRequestParts<Control> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, Problem> {
        caller(parts, control, Role::Admin).await.map(Self)
    }
}

async fn caller(parts: &Parts, control: &Control, needed: Role) -> Result<Caller, Problem> {
    // An Authorization header decides alone: a wrong token is not saved by a good cookie.
    let caller = if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
        by_token(value.to_str().unwrap_or_default(), control).await?
    } else {
        let caller = by_session(&parts.headers, control).await?;
        origin::check(&parts.method, &parts.headers)?;
        caller
    };
    if caller.role < needed {
        let detail = format!("this needs the role {needed:?}, you have {:?}", caller.role).to_lowercase();
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    Ok(caller)
}

async fn by_token(authorization: &str, control: &Control) -> Result<Caller, Problem> {
    let (scheme, token) = authorization.split_once(' ').unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Problem::unauthorized());
    }
    let found = control.catalog().token(&secret::hash(token.trim()), control.now_ms()).await?;
    let token = found.ok_or_else(Problem::unauthorized)?;
    Ok(Caller { user: token.user_name, role: token.role, via: Via::Token })
}

async fn by_session(headers: &HeaderMap, control: &Control) -> Result<Caller, Problem> {
    let hash = secret::hash(cookie(headers).ok_or_else(Problem::unauthorized)?);
    let found = control.catalog().session(&hash, control.now_ms()).await?;
    let session = found.ok_or_else(Problem::unauthorized)?;
    let via = Via::Session { hash, expires_ms: session.expires_ms };
    Ok(Caller { user: session.user_name, role: session.role, via })
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=1; xdarner_session=no".parse().unwrap());
        headers.append(header::COOKIE, "b=2; darner_session=yes; darner_session=later".parse().unwrap());
        assert_eq!(cookie(&headers), Some("yes"));
        assert_eq!(cookie(&HeaderMap::new()), None);
    }
}
