# Publishes straight through Redis: one Redis or a Cluster, one partition or many.
import json, os, sys, uuid
from redis import Redis
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot


class Tidings:
    def __init__(self, connection, prefix='tidings'):
        self.connection = connection
        self.prefixes = connection.lrange(f'{prefix}:partitions', 0, -1) or [prefix]

    def home(self, to):
        name = to.partition(':')[2] or to  # a user's id, a group's name, or all
        return self.prefixes[key_slot(name.encode()) * len(self.prefixes) // 16384]

    def publish(self, to, data, *options):
        # The library may repeat a call. With a key of your own you may, too.
        once = [] if 'IDEMPOTENCY' in options[::2] else ['IDEMPOTENCY', str(uuid.uuid4())]
        return self.connection.fcall('tidings_publish', 1, self.home(to), to, 'message', json.dumps(data), *once, *options)[0]

    def retract(self, to, identifier):
        return self.connection.fcall('tidings_retract', 1, self.home(to), to, 'ID', identifier) == 1


addresses = [address.split(':') for address in os.environ['REDIS_ADDRESSES'].split(',')]
login = {'username': os.environ.get('REDIS_USER'), 'password': os.environ.get('REDIS_PASSWORD'), 'decode_responses': True}
if len(addresses) == 1:
    connection = Redis(addresses[0][0], int(addresses[0][1]), **login)
else:
    connection = RedisCluster(startup_nodes=[ClusterNode(host, int(port)) for host, port in addresses], **login)
tidings = Tidings(connection)
for to in sys.argv[1:]:  # for example user:42 group:Complaints all
    print(to, tidings.publish(to, {'title': 'Hello'}))
    mistake = tidings.publish(to, {'title': 'A mistake'}, 'TTL', 3600)
    print(to, 'taken back' if tidings.retract(to, mistake) else 'not taken back')
connection.close()
