// Combines many questions into few calls, since thousands of clients may come back in the same second.

/** The answer to one question. An Error rejects this question alone. */
export type Answer<A> = A | Error

export interface GatheringOptions<Question> {
  /** The weight of a question. Default: 0. */
  readonly weigh?: (question: Question) => number
  /** The most questions in one call, since Redis serves nobody else while it runs. Default 64. */
  readonly maxQuestions?: number
  /** The most weight of a call with more than one question, roughly in bytes. Default 1 MiB. */
  readonly maxWeight?: number
  /**
   * The most calls under way at once. With too many, the last would wait longer than the command time-out, and
   * publishes with it. Default 4.
   */
  readonly maxCalls?: number
}

/**
 * Collects the questions of one turn of the event loop, or those asked while a call is under way, and sends them as one
 * call. Enough questions to fill a call are sent without waiting.
 */
export class Gathering<Question, A> {
  readonly #call: (questions: readonly Question[]) => Promise<ReadonlyArray<Answer<A>>>
  readonly #options: Required<GatheringOptions<Question>>
  #waiting: Array<{ readonly question: Question, readonly resolve: (answer: A) => void, readonly reject: (error: Error) => void }> = []
  #calls = 0
  #isScheduled = false

  /**
   * `call` answers the questions in their order, and at least the first. Those without an answer are asked again in the
   * next call. If it throws, all of its questions are rejected.
   */
  constructor (call: (questions: readonly Question[]) => Promise<ReadonlyArray<Answer<A>>>, options: GatheringOptions<Question> = {}) {
    this.#call = call
    this.#options = { weigh: () => 0, maxQuestions: 64, maxWeight: 1_048_576, maxCalls: 4, ...options }
  }

  /** How many questions wait to be sent. */
  get waiting (): number { return this.#waiting.length }

  ask (question: Question): Promise<A> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ question, resolve, reject })
      this.#schedule()
    })
  }

  #schedule (): void {
    const { maxCalls, maxQuestions } = this.#options
    const mayAsk = this.#calls === 0 ? this.#waiting.length > 0 : this.#calls < maxCalls && this.#waiting.length >= maxQuestions
    if (this.#isScheduled || !mayAsk) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      void this.#next()
    })
  }

  #fitting (): number {
    const { weigh, maxQuestions, maxWeight } = this.#options
    let weight = 0
    for (const [count, { question }] of this.#waiting.slice(0, maxQuestions).entries()) {
      weight += weigh(question)
      if (weight > maxWeight && count > 0) return count
    }
    return maxQuestions
  }

  async #next (): Promise<void> {
    const asked = this.#waiting.splice(0, this.#fitting())
    this.#calls++
    this.#schedule() // the rest goes with another call
    try {
      const answers = await this.#call(asked.map(({ question }) => question))
      for (const [i, answer] of answers.entries()) {
        if (answer instanceof Error) asked[i]!.reject(answer)
        else asked[i]!.resolve(answer)
      }
      this.#waiting.unshift(...asked.slice(answers.length))
    } catch (error) {
      for (const { reject } of asked) reject(error as Error)
    }
    this.#calls--
    this.#schedule()
  }
}
