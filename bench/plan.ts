// What is measured in this run: each section with its rows, its sizes and how often.
import type { Options } from './options.ts'
import type { Named } from './rows/row.ts'
import type { AnySection, Asked, Field, Size } from './sections/section.ts'
import { sections } from './sections/sections.ts'

export interface Plan {
  readonly section: AnySection
  readonly asked: Asked
  readonly rounds: number
  readonly rows: readonly Named[]
}

/** All rows that each section has, whatever --rows says. */
export function plans (options: Options, field: Field): Plan[] {
  return sections.filter(({ name, partOf = name }) => options.only.includes(partOf)).map((section) => ({
    section,
    asked: asked(section, options),
    rounds: section.takes.rounds === undefined ? 1 : options.rounds ?? (options.smoke ? 1 : section.takes.rounds),
    rows: section.rows(field).filter(({ name, twin = name }: Named) => !(options.smoke && section.notInSmoke?.includes(twin)))
  }))
}

function asked ({ takes }: AnySection, { streams, seconds, rate, churn, client, profile, smoke }: Options): Asked {
  const size = (given: number | undefined, usual: Size | undefined): number => usual === undefined ? 0 : given ?? usual[smoke ? 1 : 0]
  return {
    streams: size(streams, takes.streams),
    seconds: size(seconds, takes.seconds),
    rate: size(rate, takes.rate),
    churn: size(churn, takes.churn),
    client,
    profileFolder: takes.profile === undefined ? undefined : profile,
    isSmoke: smoke
  }
}
