// A listener that keeps what a broker told it, and lets a test wait for it.
import type { BrokerListener, Control, DropReason } from '../../src/broker/listener.ts'
import type { Address, Notification } from '../../src/notification.ts'
import { Signal } from '../fixtures/wait.ts'

export type Heard =
  | { readonly to: Address } & Notification
  | { readonly userId: string } & Control
  | { readonly dropped: Address, readonly reason: DropReason }
  | { readonly line: 'interrupted' | 'restored' }

export class Ear implements BrokerListener {
  /** Everything, in the order in which it was told. */
  readonly heard: Heard[] = []
  readonly changed = new Signal()

  notification (to: Address, { id, event, json, asOf, once }: Notification): void {
    this.#hear({ to, id, event, json, ...asOf !== undefined && { asOf }, ...once !== undefined && { once } })
  }

  control (userId: string, control: Control): void { this.#hear({ userId, ...control }) }
  dropped (dropped: Address, reason: DropReason): void { this.#hear({ dropped, reason }) }
  interrupted (): void { this.#hear({ line: 'interrupted' }) }
  restored (): void { this.#hear({ line: 'restored' }) }

  #hear (heard: Heard): void {
    this.heard.push(heard)
    this.changed.notify()
  }

  get notifications (): Array<{ readonly to: Address } & Notification> { return this.heard.filter((one) => 'to' in one) }
  /** The events of a name that the server itself sends, with their data read. */
  events (event: 'read' | 'retracted'): Array<{ readonly to: Address, readonly data: Record<string, unknown> } & Notification> {
    return this.notifications.filter((one) => one.event === event && one.id === 0).map((one) => ({ ...one, data: JSON.parse(one.json) as Record<string, unknown> }))
  }

  get controls (): Array<{ readonly userId: string } & Control> { return this.heard.filter((one) => 'control' in one) }
  get drops (): Array<{ readonly dropped: Address, readonly reason: DropReason }> { return this.heard.filter((one) => 'dropped' in one) }
  /** What the controls were, and of which group. */
  get memberships (): string[] { return this.controls.map((one) => 'group' in one ? `${one.control} ${one.group}` : one.control) }
  get lines (): string[] { return this.heard.filter((one) => 'line' in one).map(({ line }) => line) }

  /** The first value of `check` that is not undefined, asked again whenever something is heard. */
  until<T> (check: () => T | undefined, what: string): Promise<T> {
    return this.changed.until(check, { what, describe: () => `heard ${this.heard.length}, the last: ${JSON.stringify(this.heard.slice(-10))}` })
  }

  /** Resolves when so many notifications were heard in all. */
  count (count: number): Promise<unknown> {
    return this.until(() => this.notifications.length >= count ? true : undefined, `${count} notifications`)
  }

  /** Resolves when the notification with this id was heard. */
  id (id: number): Promise<unknown> {
    return this.until(() => this.notifications.find((one) => one.id === id), `the notification ${id}`)
  }
}
