// Makes a token for trying things: npm run token -- --sub 42 --groups Complaints --scope notifications:publish
import { parseArgs } from 'node:util'
import jwt from '@fastify/jwt'
import Fastify from 'fastify'

const usage = `Usage: JWT_SECRET=… npm run token -- --sub <userId> [options]

  --sub <userId>        whose token it is (required)
  --groups <a,b>        groups that it claims
  --scope "<a> <b>"     notifications:publish, notifications:manage
  --expires <seconds>   how long it is valid (3600)
  --issuer <iss>, --audience <aud>

Prints the token, signed with HS256 and the secret in JWT_SECRET.`

function options (): ReturnType<typeof parse> | undefined {
  try {
    return parse()
  } catch (error) {
    console.error(`${(error as Error).message}\n`)
    return undefined
  }
}

function parse () {
  return parseArgs({
    options: {
      sub: { type: 'string' },
      groups: { type: 'string', default: '' },
      scope: { type: 'string' },
      expires: { type: 'string', default: '3600' },
      issuer: { type: 'string' },
      audience: { type: 'string' },
      help: { type: 'boolean', short: 'h' }
    }
  }).values
}

const given = options()
const secret = process.env.JWT_SECRET ?? ''
const fault = given === undefined
  ? usage
  : given.sub === undefined
    ? `--sub is missing.\n\n${usage}`
    : Buffer.byteLength(secret) < 32
      ? `JWT_SECRET must be set, with at least 32 bytes: the same that the nodes have.\n\n${usage}`
      : !/^[1-9][0-9]{0,9}$/.test(given.expires)
          ? `--expires must be a whole number of seconds.\n\n${usage}`
          : undefined

if (given?.help === true) console.log(usage)
else if (fault !== undefined || given === undefined) {
  console.error(fault)
  process.exitCode = 1
} else {
  const app = Fastify()
  await app.register(jwt, { secret })
  const groups = given.groups.split(',').map((group) => group.trim()).filter((group) => group !== '')
  const claims = { sub: given.sub!, ...(groups.length > 0 && { groups }), ...(given.scope !== undefined && { scope: given.scope }) }
  console.log(app.jwt.sign(claims, {
    expiresIn: Number(given.expires),
    ...(given.issuer !== undefined && { iss: given.issuer }),
    ...(given.audience !== undefined && { aud: given.audience })
  }))
}
