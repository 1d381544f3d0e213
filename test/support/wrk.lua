-- What wrk itself does not tell: answers that are not what they should be, and threads (one connection each) without any.
-- Arguments: milliseconds to rest before each request; the address of the client that servers shall see.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  rest, seen = tonumber(args[1]), args[2]
  answers, wrong, example = 0, 0, ""
end

function delay()
  return rest
end

function response(status, headers, body)
  answers = answers + 1
  if status == 200 and body:match("^%w+ (%S+)\n$") == seen then return end
  wrong = wrong + 1
  example = status .. " " .. body:gsub("[^%w%s.:]", ""):gsub("%s+", " ")
end

function done(summary, latency, requests)
  local wrong, silent, example = 0, 0, ""
  for _, thread in ipairs(threads) do
    wrong = wrong + thread:get("wrong")
    if thread:get("answers") == 0 then silent = silent + 1 end
    if thread:get("example") ~= "" then example = thread:get("example") end
  end
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"slow":%d,"wrong":%d,"silent":%d,"example":"%s","longestMs":%d}\n',
    summary.requests, e.connect, e.read, e.write, e.status, e.timeout, wrong, silent, example, latency.max / 1000))
end
