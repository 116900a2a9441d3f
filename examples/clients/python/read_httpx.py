# Reads a stream with httpx and httpx-sse. Prints one line an event: id, event, data.
# The library does not reconnect, and httpx gives up after 5 s of silence unless told otherwise.
import os, sys, time
import httpx
from httpx_sse import connect_sse

url, token = os.environ['TIDINGS_URL'], os.environ['TIDINGS_TOKEN']
last_id, retry_seconds = '', 3.0


# 401 and 403: get another token. 404: look at the URL. 408 and 429 pass.
def is_final(status):
    return 400 <= status < 500 and status not in (408, 429)


with httpx.Client(timeout=httpx.Timeout(10, read=30)) as client:
    while True:
        headers = {'Authorization': f'Bearer {token}'}
        if last_id:
            headers['Last-Event-ID'] = last_id
        try:
            with connect_sse(client, 'GET', url, headers=headers) as source:
                if source.response.status_code == 204:
                    sys.exit(0)  # ended for good: logged out, or replaced
                if is_final(source.response.status_code):
                    sys.exit(f'refused: {source.response.status_code}')
                source.response.raise_for_status()
                for event in source.iter_sse():
                    last_id = event.id or last_id
                    retry_seconds = event.retry / 1000 if event.retry else retry_seconds
                    print(event.id, event.event, event.data, sep='\t', flush=True)
        except httpx.HTTPError as error:
            print(f'trying again: {error!r}', file=sys.stderr)
        time.sleep(retry_seconds)
