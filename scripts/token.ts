// Makes a token for trying things: npm run token -- --sub 42 --groups Complaints --scope notifications:publish
import jwt from '@fastify/jwt'
import Fastify from 'fastify'
import { readSettingOrFile, secretFault } from '../src/environment.ts'
import { HUNDRED_YEARS_SECONDS } from '../src/http/claims.ts'
import { isName } from '../src/notification.ts'
import { help, parse } from './command-line.ts'

const usage = `Usage: JWT_SECRET=… npm run token -- --sub <userId> [options]

  --sub <userId>        whose token it is (required)
  --groups <a,b>        groups that it claims
  --scope "<a> <b>"     notifications:publish, notifications:manage
  --expires <seconds>   how long it is valid (3600)
  --issuer <iss>, --audience <aud>

Prints the token, signed with HS256 and the secret in JWT_SECRET, or in the file that JWT_SECRET_FILE names.`

function options () {
  try {
    return parse(process.argv.slice(2), {
      sub: { type: 'string' },
      groups: { type: 'string', default: '' },
      scope: { type: 'string' },
      expires: { type: 'string', default: '3600' },
      issuer: { type: 'string' },
      audience: { type: 'string' },
      help
    }).values
  } catch (error) {
    console.error(`${(error as Error).message}.\n`)
    return undefined
  }
}

/** As the nodes read it; an Error is what is wrong with its file. */
function readSecret (): string | Error {
  try {
    return readSettingOrFile(process.env, 'JWT_SECRET') ?? ''
  } catch (error) {
    return error as Error
  }
}

const given = options()
const secret = readSecret()
const groups = (given?.groups ?? '').split(',').map((group) => group.trim()).filter((group) => group !== '')

function findFault (): string | undefined {
  if (given?.sub === undefined) return '--sub is missing.'
  if (!isName(given.sub) || !groups.every(isName)) return '--sub and --groups take names of 1 to 128 characters without control characters.'
  if (!/^[1-9][0-9]*$/.test(given.expires) || Number(given.expires) > HUNDRED_YEARS_SECONDS) {
    return `--expires must be a whole number of seconds from 1 to ${HUNDRED_YEARS_SECONDS}, a hundred years.`
  }
  if (secret instanceof Error) return `${secret.message}.`
  if (Buffer.byteLength(secret) < 32) return 'JWT_SECRET must be set, with at least 32 bytes: the same that the nodes have.'
  const fault = secretFault(secret)
  return fault === undefined ? undefined : `${fault}.`
}

const fault = given === undefined ? '' : findFault()

if (given?.help === true) console.log(usage)
else if (fault !== undefined || given === undefined) {
  console.error(`${fault}\n\n${usage}`.trimStart())
  process.exitCode = 1
} else {
  const app = Fastify()
  await app.register(jwt, { secret: secret as string })
  const claims = { sub: given.sub!, ...(groups.length > 0 && { groups }), ...(given.scope !== undefined && { scope: given.scope }) }
  console.log(app.jwt.sign(claims, {
    expiresIn: Number(given.expires),
    ...(given.issuer !== undefined && { iss: given.issuer }),
    ...(given.audience !== undefined && { aud: given.audience })
  }))
}
