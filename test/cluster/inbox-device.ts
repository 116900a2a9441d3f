// What one device of a user knows from its stream alone.
import type { Address } from '../../src/notification.ts'
import { type Client, ownEvents, type Received } from '../fixtures/client.ts'

/** What comes after all else: a device that has it has everything. */
export const FENCE = 'fence'

export interface Retracted { readonly to: Address, readonly id: string, readonly key?: string }

export class Device {
  readonly client: Client
  constructor (client: Client) { this.client = client }

  get #notifications (): Received[] { return this.client.events.filter(({ event }) => !ownEvents.has(event) && event !== FENCE) }
  /** In the order of arrival. */
  get ids (): number[] { return this.#notifications.filter(({ id }) => id !== undefined).map(({ id }) => Number(id)) }
  get wasToldOfGap (): boolean { return this.client.syncs.some(({ json }) => json.resume === 'incomplete') }
  get retracted (): Retracted[] { return this.client.events.filter(({ event }) => event === 'retracted').map(({ json }) => json) }
  /** As the newest `sync` or `read` says. */
  get counts (): object {
    const { seen, read, unseen, unread } = this.client.events.findLast(({ event }) => event === 'sync' || event === 'read')!.json
    return { seen, read, unseen, unread }
  }

  async heard (fence: string): Promise<void> {
    const { connection } = await this.client.until(() => this.client.events.find(({ event, json }) => event === FENCE && json === fence), fence)
    // Replayed, it comes before the sync.
    await this.client.live(connection)
  }
}
