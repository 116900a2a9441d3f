# Signs a token, publishes over HTTP, and publishes straight through Redis.
import json, os, time, uuid
import jwt, redis, requests

to = os.environ['TIDINGS_TO']  # for example user:42
token = jwt.encode(
    {'sub': 'orders', 'exp': int(time.time()) + 300, 'iat': int(time.time()), 'scope': 'notifications:publish'},
    os.environ['JWT_SECRET'], algorithm='HS256')

answer = requests.post(
    f"{os.environ['TIDINGS_BASE']}/api/notifications", timeout=10,
    headers={'Authorization': f'Bearer {token}', 'Idempotency-Key': f'python-{uuid.uuid4()}'},
    json={'to': to, 'data': {'from': 'python http'}})
answer.raise_for_status()

with redis.Redis.from_url(os.environ['REDIS_URL'], decode_responses=True) as connection:
    once = ['IDEMPOTENCY', str(uuid.uuid4())]  # the library may repeat a call
    identifier, nodes = connection.fcall('tidings_publish', 1, 'tidings', to, 'message', json.dumps({'from': 'python redis'}), *once)
print(answer.json()['notifications'][0]['id'], identifier)
