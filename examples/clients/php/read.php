<?php
// Reads a stream with PHP's own curl. Prints one line an event: id, event, data.
// There is no widely used library; what one would do stands here: lines to events, Last-Event-ID, `retry:`, 204.
foreach (['TIDINGS_URL', 'TIDINGS_TOKEN'] as $name) {
    if (getenv($name) === false) {
        fwrite(STDERR, "$name is not set\n");
        exit(1);
    }
}
$last_id = '';
$retry = 3.0;
while (true) {
    $buffer = '';
    $event = ['data' => [], 'event' => 'message', 'id' => ''];
    $curl = curl_init(getenv('TIDINGS_URL'));
    curl_setopt_array($curl, [
        CURLOPT_HTTPHEADER => array_merge(
            ['Accept: text/event-stream', 'Authorization: Bearer ' . getenv('TIDINGS_TOKEN')],
            $last_id === '' ? [] : ["Last-Event-ID: $last_id"]
        ),
        // Nothing heard for two heartbeats: the line is dead.
        CURLOPT_LOW_SPEED_LIMIT => 1, CURLOPT_LOW_SPEED_TIME => 30, CURLOPT_CONNECTTIMEOUT => 10,
        CURLOPT_WRITEFUNCTION => function ($curl, string $chunk) use (&$buffer, &$event, &$last_id, &$retry): int {
            if (curl_getinfo($curl, CURLINFO_RESPONSE_CODE) !== 200) {
                return strlen($chunk);
            }
            $buffer .= $chunk;
            while (($end = strpos($buffer, "\n")) !== false) {
                $line = rtrim(substr($buffer, 0, $end), "\r");
                $buffer = substr($buffer, $end + 1);
                if ($line === '') {
                    $last_id = $event['id'] !== '' ? $event['id'] : $last_id;
                    if ($event['data'] !== []) {
                        echo implode("\t", [$event['id'], $event['event'], implode("\n", $event['data'])]), "\n";
                    }
                    $event = ['data' => [], 'event' => 'message', 'id' => ''];
                    continue;
                }
                [$field, $value] = array_pad(explode(':', $line, 2), 2, '');
                $value = str_starts_with($value, ' ') ? substr($value, 1) : $value;
                match ($field) {
                    'data' => $event['data'][] = $value,
                    'event', 'id' => $event[$field] = $value,
                    'retry' => $retry = (int) $value / 1000,
                    default => null,
                };
            }
            return strlen($chunk);
        },
    ]);
    curl_exec($curl);
    $status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
    if ($status === 204) {
        exit(0); // ended for good: logged out, or replaced
    }
    if ($status >= 400 && $status < 500 && !in_array($status, [408, 429])) {
        fwrite(STDERR, "refused: $status\n"); // 401 and 403: get another token; 404: look at the URL
        exit(1);
    }
    if ($status !== 200) {
        fwrite(STDERR, 'trying again: ' . ($status === 0 ? curl_error($curl) : "answered $status") . "\n");
    }
    usleep((int) ($retry * 1_000_000));
}
