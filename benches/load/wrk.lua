-- Sends the requests of a file in turn, and prints what happened as one line of JSON.
-- The file has a line for each request: host, cookie, connection header, divided by tabs; the last two may be empty.

local requests, next_one = {}, 0

function init(args)
   for line in io.lines(args[1]) do
      local host, cookie, connection = line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)$")
      local headers = { Host = host }
      if cookie ~= "" then headers["Cookie"] = cookie end
      if connection ~= "" then headers["Connection"] = connection end
      requests[#requests + 1] = wrk.format("GET", nil, headers)
   end
end

function request()
   next_one = next_one % #requests + 1
   return requests[next_one]
end

function done(summary, latency, _)
   local errors = summary.errors
   io.write(string.format(
      'BENCH {"requests": %d, "bytes": %d, "seconds": %.6f, "failures": %d, "timeouts": %d, "status": %d, ' ..
      '"p50": %d, "p99": %d, "p999": %d}\n',
      summary.requests, summary.bytes, summary.duration / 1e6, errors.connect + errors.read + errors.write,
      errors.timeout, errors.status, latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
