# Reads a stream with Ruby's own net/http. Prints one line an event: id, event, data.
# What a library would do stands here: lines to events, Last-Event-ID, `retry:`, 204.
require 'net/http'

$stdout.sync = true
uri, token = URI(ENV.fetch('TIDINGS_URL')), ENV.fetch('TIDINGS_TOKEN')
last_id = nil
retry_seconds = 3.0

loop do
  begin
    # Nothing heard for two heartbeats: the line is dead. Net::HTTP would ask once more by itself, without the newer id.
    options = { use_ssl: uri.scheme == 'https', open_timeout: 10, read_timeout: 30, max_retries: 0 }
    Net::HTTP.start(uri.host, uri.port, options) do |http|
      request = Net::HTTP::Get.new(uri, 'Accept' => 'text/event-stream', 'Accept-Encoding' => 'identity', 'Authorization' => "Bearer #{token}")
      request['Last-Event-ID'] = last_id if last_id
      http.request(request) do |response|
        exit if response.code == '204' # ended for good: logged out, or replaced
        # 401 and 403: get another token. 404: look at the URL. 408 and 429 pass.
        abort "refused: #{response.code}" if response.code.start_with?('4') && !%w[408 429].include?(response.code)
        warn "trying again: answered #{response.code}" if response.code != '200'
        next if response.code != '200'

        rest = +''
        event = { 'data' => [] }
        response.read_body do |chunk|
          rest << chunk
          while (line = rest.slice!(/\A[^\n]*\n/))
            line = line.chomp.force_encoding('UTF-8')
            if line.empty?
              last_id = event['id'] || last_id
              puts [event['id'], event['event'] || 'message', event['data'].join("\n")].join("\t") unless event['data'].empty?
              event = { 'data' => [] }
              next
            end
            field, value = line.split(':', 2)
            value = value.to_s.delete_prefix(' ')
            case field
            when 'data' then event['data'] << value
            when 'event', 'id' then event[field] = value
            when 'retry' then retry_seconds = value.to_i / 1000.0
            end
          end
        end
      end
    end
  rescue SystemCallError, SocketError, IOError, Timeout::Error, Net::HTTPBadResponse, OpenSSL::SSL::SSLError => e
    warn "trying again: #{e.message}"
  end
  sleep retry_seconds
end
