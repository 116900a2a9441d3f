// Origins of pages, as browsers send them: which text of CORS_ORIGINS can ever match one.

export function isOrigin (text: string): boolean {
  if (!/^[a-z][a-z\d+.-]*:\/\/[^*/?#@\s]+$/.test(text) || /^(ftp|wss?|file|blob):/.test(text) || !URL.canParse(text)) return false
  // Pages of apps and extensions have schemes of their own, for which URL tells no origin.
  return !/^https?:/.test(text) || new URL(text).origin === text
}

/** As a browser would send what was meant. */
export function originLike (text: string): string {
  return /^https?:\/\/[^*]+$/i.test(text) && URL.canParse(text) ? new URL(text).origin : 'https://app.example'
}
