//! The page at `/`, until the console comes.
//!
//! Owns: one fixed page without scripts. Never: shows anything of the cluster: it asks for no credential.

use axum::response::Html;

const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Darner</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem; color: #222; background: #fff; }
code { background: #eee; padding: 0 .25em; }
a { color: #0645ad; }
</style>
</head>
<body>
<main>
<h1>Darner</h1>
<p>This is the manager of a Darner cluster. Its console comes later.</p>
<p>Everything it knows is in the API: <a href="/api/v1/openapi.json"><code>/api/v1/openapi.json</code></a> describes it.
Sign in with <code>POST /api/v1/session</code> <code>{"user", "password"}</code>; the first account is <code>admin</code>,
its password is in the file <code>admin-password</code> of the manager's data directory.</p>
</main>
</body>
</html>
"#;

/// The page.
pub(super) async fn page() -> Html<&'static str> {
    Html(PAGE)
}
