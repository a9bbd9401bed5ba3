import { describe, expect, test } from 'vitest';
import { isMillraceError } from '../../src/errors.js';
import { checkWebhookUrl, isLoopbackAddress, isPublicAddress } from '../../src/subscriptions/webhook-url.js';

function rejects(url: string, allowLoopback = false): boolean {
  try {
    checkWebhookUrl(url, allowLoopback);
    return false;
  } catch (error) {
    return isMillraceError(error, 'WEBHOOK_URL_REJECTED');
  }
}

describe('checkWebhookUrl', () => {
  test('takes https to public hosts', () => {
    for (const url of ['https://worker.example/hook', 'https://93.184.216.34:8443/', 'https://[2606:4700::1111]/x']) {
      expect(rejects(url), url).toBe(false);
    }
  });

  test('refuses hosts that are not public, however they are written', () => {
    const hosts = ['10.0.0.1', '172.16.5.4', '192.168.1.1', '169.254.169.254', '127.0.0.1', '0.0.0.0', '100.64.1.1'];
    const others = [
      '0x7f000001',
      '2130706433',
      '127.1',
      '0177.0.0.1',
      '[::1]',
      '[::ffff:10.0.0.1]',
      '[fe80::1]',
      '[fd00::1]',
    ];
    for (const host of [
      ...hosts,
      ...others,
      '[::]',
      '[64:ff9b::a00:1]',
      '[2002:a00:1::]',
      'localhost',
      'a.localhost.',
    ]) {
      expect(rejects(`https://${host}/`), host).toBe(true);
      expect(rejects(`https://${host}/`, true), host).toBe(true);
    }
  });

  test('refuses plain http, but for this machine where that is allowed', () => {
    expect(rejects('http://worker.example/')).toBe(true);
    expect(rejects('http://10.0.0.1/hook', true)).toBe(true);
    for (const url of ['http://localhost:8080/', 'http://127.0.0.1:1/', 'http://127.3.2.1/']) {
      expect(rejects(url), url).toBe(true);
      expect(rejects(url, true), url).toBe(false);
    }
  });

  test('refuses other schemes, credentials and what is no URL', () => {
    for (const url of ['ftp://a.example/', 'file:///etc/passwd', 'https://u:p@a.example/', '/hook', '', 'https://']) {
      expect(rejects(url, true), url).toBe(true);
    }
    expect(rejects(`https://a.example/${'x'.repeat(3000)}`)).toBe(true);
  });

  test('says which addresses the name may turn out to have', () => {
    const development = checkWebhookUrl('http://localhost:1/', true);
    expect(['127.0.0.1', '::1'].every(development.allows)).toBe(true);
    expect(['10.0.0.1', '8.8.8.8'].some(development.allows)).toBe(false);
    const production = checkWebhookUrl('https://worker.example/', true);
    expect(['8.8.8.8', '2606:4700::1'].every(production.allows)).toBe(true);
    expect(['127.0.0.1', '::1', '::ffff:127.0.0.1', '10.1.1.1', 'fe80::1', 'ff02::1'].some(production.allows)).toBe(
      false,
    );
  });
});

describe('addresses', () => {
  test('mapped IPv4 is never public', () => {
    expect(isPublicAddress('::ffff:8.8.8.8')).toBe(false);
    expect(isLoopbackAddress('::ffff:8.8.8.8')).toBe(false);
  });
});
