-- The attempt log out of Stripe Sigma: schedule it under a title that begins with
-- "retry-engine attempt log", and the engine imports each run's result by itself.
--
-- Written against Sigma's documented tables; it was not run against live Sigma. Every charge of
-- every invoice with a failed charge in the last 400 days, and how those invoices ended.

with failed_invoices as (
  select distinct coalesce(p.invoice, c.invoice_id) as invoice_id
  from charges c
  left join invoice_payments p on p.payment_intent = c.payment_intent
  where c.status = 'failed'
    and c.created >= current_date - interval '400' day
    and coalesce(p.invoice, c.invoice_id) is not null
),

-- a charge has its invoice by way of its payment intent; older ones carry it themselves
invoice_charges as (
  select distinct coalesce(p.invoice, c.invoice_id) as invoice_id, c.id as charge_id
  from charges c
  left join invoice_payments p on p.payment_intent = c.payment_intent
  where coalesce(p.invoice, c.invoice_id) in (select invoice_id from failed_invoices)
),

-- a subscription may have several prices; they are billed in one rhythm
intervals as (
  select i.subscription_id, min(p.recurring_interval) as billing_interval
  from subscription_items i
  join prices p on p.id = i.price_id
  group by i.subscription_id
),

timezones as (
  select customer_id, max(value) as customer_timezone
  from customers_metadata
  where key = 'timezone'
  group by customer_id
),

last_charges as (
  select ic.invoice_id, max(c.created) as last_charge_at
  from invoice_charges ic
  join charges c on c.id = ic.charge_id
  group by ic.invoice_id
),

ends as (
  select
    i.id as invoice_id,
    case
      when i.status = 'paid' then 'recovered'
      when i.status = 'void' then 'voided'
      when i.status = 'uncollectible' then 'uncollectible'
      when s.status in ('canceled', 'incomplete_expired') then 'churned'
    end as close_reason,
    case
      when i.status = 'paid' then coalesce(i.status_transitions_paid_at, l.last_charge_at)
      when i.status = 'void' then coalesce(i.status_transitions_voided_at, l.last_charge_at)
      when i.status = 'uncollectible'
        then coalesce(i.status_transitions_marked_uncollectible_at, l.last_charge_at)
      when s.ended_at > l.last_charge_at then s.ended_at
      else l.last_charge_at
    end as ended_at
  from invoices i
  join last_charges l on l.invoice_id = i.id
  left join subscriptions s on s.id = i.subscription_id
)

-- the log
select
  i.id as invoice_id,
  i.customer_id as customer_id,
  'attempt' as kind,
  date_format(c.created, '%Y-%m-%dT%H:%i:%SZ') as "at",
  c.amount as amount,
  c.currency as currency,
  case
    when c.status = 'succeeded' then 'succeeded'
    when c.outcome_reason in ('authentication_required', 'authentication_not_handled')
      then 'requires_action'
    else 'failed'
  end as outcome,
  case
    when c.status = 'failed' then coalesce(
      regexp_replace(c.outcome_reason, '^partner_', ''),
      nullif(c.failure_code, 'card_declined'),
      'generic_decline'
    )
  end as decline_code,
  c.outcome_advice_code as advice_code,
  c.outcome_network_advice_code as network_advice_code,
  c.outcome_network_decline_code as network_decline_code,
  c.outcome_risk_level as risk_level,
  c.payment_method_id as payment_method_id,
  c.payment_method_type as method_type,
  -- as the API spells them
  case lower(c.card_brand)
    when 'american express' then 'amex'
    when 'diners club' then 'diners'
    else lower(c.card_brand)
  end as card_brand,
  c.card_funding as card_funding,
  c.card_country as card_country,
  cast(c.card_exp_year as varchar) || '-'
    || lpad(cast(c.card_exp_month as varchar), 2, '0') as card_exp,
  c.card_fingerprint as card_fingerprint,
  coalesce(u.address_country, u.shipping_address_country, c.card_country) as customer_country,
  t.customer_timezone as customer_timezone,
  date_format(u.created, '%Y-%m-%dT%H:%i:%SZ') as customer_since,
  i.billing_reason as billing_reason,
  n.billing_interval as billing_interval,
  -- Stripe charges nothing for invoices that are sent: their customers pay
  case when i.collection_method = 'send_invoice' then 'customer' else 'stripe' end as source,
  cast(null as varchar) as close_reason,
  c.id as charge_id
from invoice_charges ic
join charges c on c.id = ic.charge_id
join invoices i on i.id = ic.invoice_id
left join customers u on u.id = i.customer_id
left join timezones t on t.customer_id = i.customer_id
left join intervals n on n.subscription_id = i.subscription_id
where c.status in ('succeeded', 'failed')  -- what is on its way comes with a later run

union all

select
  i.id, i.customer_id, 'closed', date_format(e.ended_at, '%Y-%m-%dT%H:%i:%SZ'),
  cast(null as bigint), cast(null as varchar), cast(null as varchar), cast(null as varchar),
  cast(null as varchar), cast(null as varchar), cast(null as varchar), cast(null as varchar),
  cast(null as varchar), cast(null as varchar), cast(null as varchar), cast(null as varchar),
  cast(null as varchar), cast(null as varchar), cast(null as varchar), cast(null as varchar),
  cast(null as varchar), cast(null as varchar), cast(null as varchar), cast(null as varchar),
  cast(null as varchar), e.close_reason, cast(null as varchar)
from ends e
join invoices i on i.id = e.invoice_id
where e.close_reason is not null
