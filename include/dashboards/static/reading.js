// What the API answers, or the sentence why it does not.

export class Refused extends Error {}

export async function read(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { Accept: "application/json", ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error; // the asker's own doing
    throw new Refused("Airflow does not answer; is its API server running?");
  }
  if (answer.status === 401 || answer.status === 403) {
    throw new Refused("Your login has run out or may not see this page; log in to Airflow again and reload.");
  }
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  const refused = new Refused(content.detail ?? `Airflow answered ${answer.status}.`);
  refused.content = content;
  throw refused;
}
