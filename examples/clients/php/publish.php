<?php
// Signs a token, publishes over HTTP, and publishes straight through Redis with the phpredis extension.
function fail(string $why): void
{
    fwrite(STDERR, "$why\n");
    exit(1);
}

set_exception_handler(fn (Throwable $error) => fail($error->getMessage()));

foreach (['TIDINGS_BASE', 'TIDINGS_TO', 'JWT_SECRET', 'REDIS_URL'] as $name) {
    if (getenv($name) === false) {
        fail("$name is not set");
    }
}
$to = getenv('TIDINGS_TO'); // for example user:42
$encode = fn (string $text): string => rtrim(strtr(base64_encode($text), '+/', '-_'), '=');
$claims = ['sub' => 'orders', 'iat' => time(), 'exp' => time() + 300, 'scope' => 'notifications:publish'];
$text = $encode('{"alg":"HS256","typ":"JWT"}') . '.' . $encode(json_encode($claims));
$token = $text . '.' . $encode(hash_hmac('sha256', $text, getenv('JWT_SECRET'), true));

$curl = curl_init(getenv('TIDINGS_BASE') . '/api/notifications');
curl_setopt_array($curl, [
    CURLOPT_RETURNTRANSFER => true,
    CURLOPT_TIMEOUT => 10,
    CURLOPT_HTTPHEADER => ["Authorization: Bearer $token", 'Content-Type: application/json', 'Idempotency-Key: php-' . bin2hex(random_bytes(8))],
    CURLOPT_POSTFIELDS => json_encode(['to' => $to, 'data' => ['from' => 'php http']]),
]);
$body = curl_exec($curl);
if (curl_getinfo($curl, CURLINFO_RESPONSE_CODE) !== 202) {
    fail($body ?: curl_error($curl));
}
$answer = json_decode($body, true);

$url = parse_url(getenv('REDIS_URL'));
$redis = new Redis();
$redis->connect(($url['scheme'] === 'rediss' ? 'tls://' : '') . $url['host'], $url['port'] ?? 6379, 10, null, 0, 10); // PHP would wait 60 s
if (isset($url['pass'])) {
    $redis->auth([rawurldecode(($url['user'] ?? '') ?: 'default'), rawurldecode($url['pass'])]);
}
$database = trim($url['path'] ?? '', '/');
// Users for services need no right to SELECT in database 0.
if ((int) $database !== 0 && !$redis->select((int) $database)) {
    fail($redis->getLastError());
}
$reply = $redis->rawCommand('FCALL', 'tidings_publish', 1, 'tidings', $to, 'message', '{"from":"php redis"}');
if ($reply === false) {
    fail($redis->getLastError());
}
echo $answer['notifications'][0]['id'], ' ', $reply[0], "\n";
