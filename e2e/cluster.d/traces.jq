# What is wrong with a trace as Jaeger's API gives it, one line each; nothing when it is sound.
# Times are microseconds of one machine's clock: a child may leave its parent by $slack. A link between two nodes is
# noticed to be gone with its next heartbeat (500 ms), so that `serve pieces` may end so much later. The manager hears of a
# download with the next report of its node, when the client has gone: `download reported` follows what it stands under.
def slack: 20000;
def heartbeat: 500000;
def report: 3000000;

.data[0] as $trace
| if $trace == null then "Jaeger does not know it" else
  (reduce $trace.spans[] as $span ({}; .[$span.spanID] = $span)) as $by
  | def parent: first(.references[] | select(.refType == "CHILD_OF" and .traceID == $trace.traceID) | .spanID) // null;
    def late: {"serve pieces": heartbeat, "download reported": report}[.operationName] // 0;
    (
      ([$trace.spans[] | select(parent == null)] | select(length != 1) | "\(length) roots"),
      ($trace.spans[] | select(parent != null and ($by[parent] == null)) | "\(.operationName) is an orphan"),
      ($trace.spans[] | select(parent != null and $by[parent] != null) | . as $span | $by[parent] as $around
        | ($around.startTime - $span.startTime) as $early
        | ($span.startTime + $span.duration - $around.startTime - $around.duration) as $over
        | select($early > slack or $over > slack + ($span | late))
        | "\(.operationName) leaves its \($around.operationName): \($early / 1000) ms before, \($over / 1000) ms after"),
      ($trace.spans[] | .operationName as $name | (.tags[], .logs[].fields[]) | select(.type == "string")
        | select((.value | test("://|[?]|bearer |basic |x-amz|signature"; "i"))
            or (.key | test("url|query|header|token|authorization|cookie"; "i")))
        | "\($name) carries \(.key)=\(.value)")
    )
  end
