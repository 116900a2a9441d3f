# Reads a stream with requests and sseclient-py. Prints one line an event: id, event, data.
# Neither library reconnects: an end of any kind ends the loop, so this one goes on from the last id by itself.
import os, sys, time
import requests, sseclient

url, token = os.environ['TIDINGS_URL'], os.environ['TIDINGS_TOKEN']
last_id, retry_seconds = '', 3.0


# 401 and 403: get another token. 404: look at the URL. 408 and 429 pass.
def is_final(status):
    return 400 <= status < 500 and status not in (408, 429)


# sseclient-py also hands out the half of an event after which a stream ends, so it gets whole events only.
def whole(chunks):
    held = b''
    for chunk in chunks:
        held += chunk
        end = held.rfind(b'\n\n') + 2
        if end > 1:
            yield held[:end]
            held = held[end:]


while True:
    headers = {'Authorization': f'Bearer {token}', 'Accept': 'text/event-stream'}
    if last_id:
        headers['Last-Event-ID'] = last_id
    try:
        # The second timeout is how long nothing may be heard: two heartbeats.
        with requests.get(url, headers=headers, stream=True, timeout=(10, 30)) as response:
            if response.status_code == 204:
                sys.exit(0)  # ended for good: logged out, or replaced
            if is_final(response.status_code):
                sys.exit(f'refused: {response.status_code}')
            response.raise_for_status()
            for event in sseclient.SSEClient(whole(response)).events():
                last_id = event.id or last_id
                retry_seconds = int(event.retry) / 1000 if event.retry else retry_seconds
                print(event.id or '', event.event, event.data, sep='\t', flush=True)
    except requests.RequestException as error:
        print(f'trying again: {error}', file=sys.stderr)
    time.sleep(retry_seconds)
