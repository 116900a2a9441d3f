# Reads a stream with launchdarkly-eventsource. Prints one line an event: id, event, data.
# The library reconnects with Last-Event-ID and follows `retry:`; it must be told to go on after an error, and to stop
# at 204.
import os, sys
from ld_eventsource import SSEClient
from ld_eventsource.actions import Event, Fault
from ld_eventsource.config import ConnectStrategy, ErrorStrategy, RetryDelayStrategy
from ld_eventsource.errors import HTTPStatusError
import urllib3

url, token = os.environ['TIDINGS_URL'], os.environ['TIDINGS_TOKEN']
client = SSEClient(
    connect=ConnectStrategy.http(
        url,
        headers={'Authorization': f'Bearer {token}'},
        urllib3_request_options={'timeout': urllib3.Timeout(connect=10, read=30)},
    ),
    error_strategy=ErrorStrategy.always_continue(),
    retry_delay_strategy=RetryDelayStrategy.default(max_delay=30),
    initial_retry_delay=3,
)

for action in client.all:
    if isinstance(action, Event):
        print(action.last_event_id or '', action.event, action.data, sep='\t', flush=True)
    elif isinstance(action, Fault) and isinstance(action.error, HTTPStatusError):
        if action.error.status == 204:
            sys.exit(0)  # ended for good: logged out, or replaced
        if action.error.status in (401, 403):
            sys.exit(f'refused: {action.error}')
