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
    elif isinstance(action, Fault) and action.error is not None:  # a clean end has no error
        status = action.error.status if isinstance(action.error, HTTPStatusError) else 0
        if status == 204:
            sys.exit(0)  # ended for good: logged out, or replaced
        if 400 <= status < 500 and status not in (408, 429):
            sys.exit(f'refused: {action.error}')  # 401 and 403: get another token; 404: look at the URL
        print(f'trying again: {action.error}', file=sys.stderr)
