//! What happens, as it happens (server-sent events).
//!
//! Owns: the bounds of a stream: so many at once, ten minutes each. A browser's `EventSource` opens the next one by
//! itself, and shows its cookie again: so an ended session stops hearing within that time.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::{Stream, StreamExt, future};
use http::StatusCode;
use serde::Deserialize;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use utoipa::IntoParams;

use crate::access::Viewer;
use crate::control::Control;
use crate::events::{self, Topic};
use crate::problem::Problem;

/// How long one stream lasts.
const LASTS: Duration = Duration::from_mins(10);
/// A comment so often keeps proxies from closing the line.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Of `nodes`, `downloads`, `config`, `purges`, with commas; all when absent.
    topics: Option<String>,
}

/// Events named by their topic, each with the item as the lists show it. `behind` says that some were missed.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "cluster", params(Wanted), security(("session" = []), ("token" = [])),
    responses(
        (status = 200, body = String, content_type = "text/event-stream"), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 503, body = Problem)
    )
)]
pub(super) async fn watch(
    State(control): State<Control>,
    _caller: Viewer,
    Query(wanted): Query<Wanted>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let topics = match &wanted.topics {
        Some(names) => Topic::list(names)
            .map_err(|name| Problem::bad_request(format!("`topics`: there is no `{name}`")))?,
        None => Topic::ALL.to_vec(),
    };
    let place = control.watchers().clone().try_acquire_owned().map_err(|_none_free| {
        Problem::later(StatusCode::SERVICE_UNAVAILABLE, "too many watch already", 10)
    })?;
    let told = said(control.events().watch(), topics);
    let ends = async move {
        let _while_it_lasts = place;
        drop(tokio::time::timeout(LASTS, control.drain().wait()).await);
    };
    // A first event at once: the watcher then knows that what it reads from the lists now misses nothing.
    let stream = tokio_stream::once(Event::default().event("ready").data("{}")).chain(told);
    Ok(Sse::new(stream.map(Ok).take_until(Box::pin(ends))).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn said(watched: broadcast::Receiver<events::Event>, topics: Vec<Topic>) -> impl Stream<Item = Event> {
    BroadcastStream::new(watched).filter_map(move |event| {
        future::ready(match event {
            Ok(event) if topics.contains(&event.topic) => {
                Some(Event::default().event(event.topic.name()).data(event.item.as_str()))
            }
            Ok(_) => None,
            Err(_missed) => Some(Event::default().event("behind").data("{}")),
        })
    })
}
