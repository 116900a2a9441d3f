# Signs a token with ruby-jwt, publishes over HTTP, and publishes straight through Redis with redis-rb.
require 'json'
require 'jwt'
require 'net/http'
require 'redis'
require 'securerandom'

to = ENV.fetch('TIDINGS_TO') # for example user:42
claims = { sub: 'orders', iat: Time.now.to_i, exp: Time.now.to_i + 300, scope: 'notifications:publish' }
token = JWT.encode(claims, ENV.fetch('JWT_SECRET'), 'HS256')

headers = { 'Authorization' => "Bearer #{token}", 'Content-Type' => 'application/json', 'Idempotency-Key' => "ruby-#{SecureRandom.hex(8)}" }
answer = Net::HTTP.post(URI("#{ENV.fetch('TIDINGS_BASE')}/api/notifications"), { to: to, data: { from: 'ruby http' } }.to_json, headers)
abort answer.body if answer.code != '202'

once = ['IDEMPOTENCY', SecureRandom.hex(16)] # the library may repeat a call
id, = Redis.new(url: ENV.fetch('REDIS_URL')).call('FCALL', 'tidings_publish', 1, 'tidings', to, 'message', { from: 'ruby redis' }.to_json, *once)
puts "#{JSON.parse(answer.body)['notifications'][0]['id']} #{id}"
