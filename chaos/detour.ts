// Loaded before a node (node --import): what it connects to at these ports goes over lines of the run, as CHAOS_LINES
// says (`<port>:<line>,…`).
import { Socket, type SocketConnectOpts } from 'node:net'

const lines = new Map(process.env.CHAOS_LINES!.split(',').map((pair) => pair.split(':').map(Number) as [number, number]))
const connect = Socket.prototype.connect as (this: Socket, ...args: unknown[]) => Socket

Socket.prototype.connect = function (this: Socket, ...args: unknown[]) {
  // What net.connect() has put in order already.
  const first = args[0] as SocketConnectOpts | [SocketConnectOpts, ...unknown[]]
  const options = Array.isArray(first) ? first[0] : first
  const line = 'port' in options ? lines.get(options.port) : undefined
  const changed = line === undefined ? options : { ...options, port: line }
  if (Array.isArray(first)) first[0] = changed
  else args[0] = changed
  return connect.call(this, ...args)
} as typeof Socket.prototype.connect
