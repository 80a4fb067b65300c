//! Who may do what.

use http::Request;
use serde_json::json;

use crate::stage::Stage;

/// Every operation of the document, with its method in capitals.
async fn operations(stage: &Stage) -> Vec<(String, String)> {
    let document = stage.get("/api/v1/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap().clone();
    let operations = paths.iter().flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
    });
    operations.collect()
}

#[tokio::test]
async fn every_described_operation_exists_and_only_three_ask_for_no_credential() {
    let stage = Stage::new().await;
    let mut open = Vec::new();
    for (method, path) in operations(&stage).await {
        let concrete = path.replace("{id}", "1").replace("{object}", "x");
        let asked = Request::builder().method(method.as_str()).uri(&concrete);
        let answer = stage.ask(asked.header("content-type", "application/json"), "{}").await;
        if answer.status == 401 {
            answer.problem(401);
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        } else {
            open.push((format!("{method} {path}"), answer.status.as_u16()));
        }
    }
    open.sort();
    let expected = [("GET /api/v1/openapi.json", 200), ("GET /healthz", 200), ("POST /api/v1/session", 422)];
    assert_eq!(open, expected.map(|(path, status)| (path.to_owned(), status)));
}

#[tokio::test]
async fn a_person_signs_in_is_known_and_signs_out() {
    let stage = Stage::new().await;
    let answer = stage.sign_in("admin", &stage.password()).await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("; HttpOnly; SameSite=Lax; Path=/; Max-Age="), "{cookie}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let admin = stage.admin().await;
    let known = admin.get("/api/v1/session").await.json();
    assert_eq!(
        (&known["user"], &known["role"], &known["via"]),
        (&json!("admin"), &json!("admin"), &json!("session"))
    );
    assert_eq!(admin.delete("/api/v1/session").await.status, 204);
    admin.get("/api/v1/session").await.problem(401);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_get_the_same_words() {
    let stage = Stage::new().await;
    let wrong = stage.sign_in("admin", "wrong").await.problem(401);
    assert_eq!(stage.sign_in("nobody", "wrong").await.problem(401), wrong);
}

#[tokio::test]
async fn guessing_is_slowed() {
    let stage = Stage::new().await;
    for _ in 0..5 {
        stage.sign_in("admin", "wrong").await.problem(401);
    }
    let refused = stage.sign_in("admin", &stage.password()).await;
    refused.problem(429);
    assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn a_tampered_cookie_is_nobody() {
    let stage = Stage::new().await;
    let (name, good) = stage.admin().await.shown;
    let (head, last) = good.split_at(good.len() - 1);
    let flipped = format!("{head}{}", if last == "A" { "B" } else { "A" });
    for cookie in [flipped.as_str(), head, "darner_session=", "darner_session=' OR 1=1 --", "darner_session"]
    {
        stage.ask(Request::get("/api/v1/nodes").header(name, cookie), "").await.problem(401);
    }
}

#[tokio::test]
async fn a_wrong_token_is_nobody_even_beside_a_good_cookie() {
    let stage = Stage::new().await;
    let (name, cookie) = stage.admin().await.shown;
    for wrong in ["Bearer darner_pat_x", "Bearer ", "Bearer", "Basic YWRtaW46eA==", "bearer ' OR 1=1 --"] {
        let asked = Request::get("/api/v1/nodes").header(name, &cookie).header("authorization", wrong);
        stage.ask(asked, "").await.problem(401);
    }
}

#[tokio::test]
async fn a_token_works_until_it_is_revoked() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    let made = admin.post("/api/v1/tokens", &json!({ "name": "ci" })).await.json();
    let holder = stage.bearer(made["secret"].as_str().unwrap());
    let known = holder.get("/api/v1/session").await.json();
    assert_eq!(
        (&known["role"], &known["via"], &known["expiresMs"]),
        (&json!("viewer"), &json!("token"), &json!(null))
    );
    let listed = admin.get("/api/v1/tokens").await;
    assert_eq!(listed.json()["items"][0]["name"], "ci");
    assert!(!String::from_utf8_lossy(&listed.body).contains(made["secret"].as_str().unwrap()));
    let path = format!("/api/v1/tokens/{}", made["id"]);
    assert_eq!(admin.delete(&path).await.status, 204);
    holder.get("/api/v1/session").await.problem(401);
    admin.delete(&path).await.problem(404);
}

#[tokio::test]
async fn roles_are_kept() {
    let stage = Stage::new().await;
    let (viewer, operator) = (stage.with_role("viewer").await, stage.with_role("operator").await);
    let purge = json!({ "upstream": "https://h/o" });
    viewer.post("/api/v1/purges", &purge).await.problem(403);
    viewer.post("/api/v1/prefetches", &json!({ "remote": "https://h/o", "ref": "main" })).await.problem(403);
    assert_eq!(operator.post("/api/v1/purges", &purge).await.status, 201);
    for person in [&viewer, &operator] {
        person.configure(0, "{}").await.problem(403);
        person.get("/api/v1/audit").await.problem(403);
        assert_eq!(person.get("/api/v1/config").await.status, 200);
    }
}

#[tokio::test]
async fn a_token_cannot_make_tokens() {
    let stage = Stage::new().await;
    stage.with_role("admin").await.post("/api/v1/tokens", &json!({ "name": "child" })).await.problem(403);
}

#[tokio::test]
async fn another_page_cannot_use_the_cookie_for_a_change() {
    let stage = Stage::new().await;
    let admin = stage.admin().await;
    for (name, value) in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")] {
        let asked = Request::delete("/api/v1/session").header(name, value);
        admin.ask(asked, "").await.problem(403);
        let body = json!({ "user": "admin", "password": stage.password() }).to_string();
        let asked =
            Request::post("/api/v1/session").header(name, value).header("content-type", "application/json");
        stage.ask(asked, body).await.problem(403);
    }
    let own = format!("http://{}", stage.http);
    let asked = Request::delete("/api/v1/session").header("origin", own);
    assert_eq!(admin.ask(asked, "").await.status, 204);
}

#[tokio::test]
async fn every_change_is_in_the_audit_without_secrets() {
    let stage = Stage::new().await;
    stage.sign_in("<b>'; DROP TABLE audit; --", "hunter2").await.problem(401);
    let admin = stage.admin().await;
    let token = admin.post("/api/v1/tokens", &json!({ "name": "ci" })).await.json();
    admin.configure(0, r#"{"serve":false}"#).await;
    admin.post("/api/v1/purges", &json!({ "upstream": "https://h/o" })).await;
    admin.delete(&format!("/api/v1/tokens/{}", token["id"])).await;
    let audit = admin.get("/api/v1/audit").await;
    let entries = audit.json()["items"].as_array().unwrap().clone();
    let actions: Vec<_> = entries.iter().map(|entry| entry["action"].as_str().unwrap().to_owned()).collect();
    let expected =
        ["token.revoke", "purge", "config.change", "token.create", "session.begin", "session.begin"];
    assert_eq!(actions, expected);
    assert_eq!((&entries[5]["outcome"], &entries[4]["outcome"]), (&json!("refused"), &json!("done")));
    let text = String::from_utf8_lossy(&audit.body);
    for secret in ["hunter2", stage.password().as_str(), token["secret"].as_str().unwrap()] {
        assert!(!text.contains(secret));
    }
}

#[tokio::test]
async fn the_page_says_where_the_api_is_and_runs_no_script() {
    let stage = Stage::new().await;
    let page = stage.get("/").await;
    let text = String::from_utf8_lossy(&page.body);
    assert!(text.contains("/api/v1/openapi.json") && !text.contains("<script"));
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
}
